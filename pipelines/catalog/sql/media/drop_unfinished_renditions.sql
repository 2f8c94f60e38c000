DELETE FROM renditions WHERE video_id = $1 AND (complete = 0 OR epoch <> $2)
