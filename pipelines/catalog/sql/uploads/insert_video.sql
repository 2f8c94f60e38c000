INSERT INTO videos (
    id, version, owner_id, channel_id, title, description, tags, visibility, upload, playback, progress, created_at_us
)
VALUES ($1, 1, $2, $3, $4, $5, $6, $7, 'receiving', 'none', 0, $8)
ON CONFLICT (id) DO NOTHING
