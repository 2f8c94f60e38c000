SELECT j.id, j.kind, j.video_id, j.state, j.epoch, j.attempt, j.owner, j.leased_until_us
FROM jobs j
JOIN videos v ON v.id = j.video_id
WHERE j.video_id = $1 AND v.deleted_at_us IS NULL
ORDER BY j.created_at_us DESC, j.id DESC
