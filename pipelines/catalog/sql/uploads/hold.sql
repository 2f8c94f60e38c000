UPDATE uploads SET state = state WHERE id = $1
RETURNING id, video_id, owner_id, length, received, state, metadata, file_name, created_at_us, expires_at_us
