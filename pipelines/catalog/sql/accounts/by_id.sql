SELECT a.id, a.login, a.password_hash, a.is_admin, a.created_at_us,
    c.id AS channel_id, c.owner_id AS channel_owner_id, c.handle AS channel_handle, c.name AS channel_name
FROM accounts a
JOIN channels c ON c.owner_id = a.id
WHERE a.id = $1
