INSERT INTO jobs (id, kind, video_id, state, epoch, attempt, not_before_us, created_at_us, swept)
VALUES ($1, 'transcode', $2, 'queued', 0, 0, $3, $3, 0)
ON CONFLICT (video_id, kind) DO NOTHING
