INSERT INTO renditions (
    video_id, name, epoch, kind, codecs, width, height, frame_rate, init_name, init_bytes, complete
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0)
ON CONFLICT (video_id, name) DO UPDATE
SET kind = excluded.kind, codecs = excluded.codecs, width = excluded.width, height = excluded.height,
    frame_rate = excluded.frame_rate, init_name = excluded.init_name, init_bytes = excluded.init_bytes
