SELECT v.id, v.deleted_at_us, u.id AS upload_id
FROM videos v
JOIN uploads u ON u.video_id = v.id
WHERE v.deleted_at_us IS NOT NULL
ORDER BY v.deleted_at_us, v.id
LIMIT $1
