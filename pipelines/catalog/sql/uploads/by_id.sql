SELECT id, video_id, owner_id, length, received, state, metadata, file_name, created_at_us, expires_at_us
FROM uploads
WHERE id = $1
