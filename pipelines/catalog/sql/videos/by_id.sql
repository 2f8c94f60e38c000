SELECT * FROM video_rows WHERE id = $1
