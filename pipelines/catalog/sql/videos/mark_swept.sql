UPDATE jobs SET swept = 1 WHERE video_id = $1 AND ended_at_us IS NOT NULL
