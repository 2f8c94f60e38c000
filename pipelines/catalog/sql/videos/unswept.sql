SELECT j.video_id
FROM jobs j
JOIN videos v ON v.id = j.video_id
WHERE j.swept = 0 AND j.ended_at_us IS NOT NULL AND j.ended_at_us <= $1 AND v.deleted_at_us IS NULL
ORDER BY j.ended_at_us, j.id
LIMIT $2
