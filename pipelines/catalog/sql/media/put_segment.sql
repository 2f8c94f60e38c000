INSERT INTO segments (video_id, rendition, number, duration_us, file_name, bytes)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (video_id, rendition, number) DO NOTHING
