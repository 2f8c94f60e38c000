DELETE FROM renditions WHERE video_id = $1 AND name = $2 AND epoch < $3
