DELETE FROM uploads WHERE video_id = $1
