SELECT r.name, r.kind, r.codecs, r.width, r.height, r.frame_rate, r.init_name, r.init_bytes, r.complete,
    s.number, s.duration_us, s.file_name, s.bytes
FROM current_renditions r
LEFT JOIN segments s ON s.video_id = r.video_id AND s.rendition = r.name
WHERE r.video_id = $1
ORDER BY r.kind DESC, COALESCE(r.height, 0) DESC, r.name, s.number
