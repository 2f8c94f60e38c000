SELECT s.file_name, s.bytes
FROM segments s
JOIN current_renditions r ON r.video_id = s.video_id AND r.name = s.rendition
WHERE s.video_id = $1 AND s.file_name = $2
UNION ALL
SELECT r.init_name, r.init_bytes FROM current_renditions r WHERE r.video_id = $1 AND r.init_name = $2
UNION ALL
SELECT v.poster_name, v.poster_bytes FROM videos v
WHERE v.id = $1 AND v.poster_name = $2 AND v.deleted_at_us IS NULL
LIMIT 1
