UPDATE videos
SET playback = 'ready', failure = NULL, progress = 100, duration_ms = $2, poster_name = $3, poster_bytes = $4,
    published_at_us = COALESCE(published_at_us, $5)
WHERE id = $1
