SELECT id, video_id, owner_id, length, received, state, metadata, file_name, created_at_us, expires_at_us
FROM uploads
WHERE owner_id = $1 AND state = 'receiving'
ORDER BY created_at_us DESC, id DESC
LIMIT $2
