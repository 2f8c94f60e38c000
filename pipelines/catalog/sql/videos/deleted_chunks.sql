SELECT c.start_byte, c.length, c.object_key
FROM chunks c
JOIN uploads u ON u.id = c.upload_id
JOIN videos v ON v.id = u.video_id
WHERE v.id = $1 AND v.deleted_at_us IS NOT NULL AND c.start_byte >= $2
ORDER BY c.start_byte
LIMIT $3
