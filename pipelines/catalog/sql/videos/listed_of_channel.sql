SELECT * FROM video_rows
WHERE deleted_at_us IS NULL AND visibility = 'public' AND upload = 'complete' AND playback IN ('playable', 'ready')
    AND channel_id = $4 AND (created_at_us, id) < ($1, $2)
ORDER BY created_at_us DESC, id DESC
LIMIT $3
