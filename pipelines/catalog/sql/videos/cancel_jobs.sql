UPDATE jobs
SET state = 'cancelled', ended_at_us = $2, swept = 1
WHERE video_id = $1 AND state IN ('queued', 'leased')
