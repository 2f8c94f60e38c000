UPDATE renditions SET complete = 1 WHERE video_id = $1 AND name = $2 AND epoch = $3
