SELECT id AS channel_id, owner_id AS channel_owner_id, handle AS channel_handle, name AS channel_name
FROM channels
WHERE owner_id = $1
