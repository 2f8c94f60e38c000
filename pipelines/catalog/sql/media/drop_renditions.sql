DELETE FROM renditions WHERE video_id = $1
