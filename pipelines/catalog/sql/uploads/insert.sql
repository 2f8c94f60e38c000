INSERT INTO uploads (
    id, video_id, owner_id, length, received, state, metadata, file_name, created_at_us, expires_at_us
)
VALUES ($1, $2, $3, $4, 0, 'receiving', $5, $6, $7, $8)
ON CONFLICT (id) DO NOTHING
