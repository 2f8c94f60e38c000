SELECT id, video_id, owner_id, length, received, state, metadata, file_name, created_at_us, expires_at_us
FROM uploads
WHERE state = 'receiving' AND expires_at_us <= $1
ORDER BY expires_at_us, id
LIMIT $2
