DELETE FROM videos WHERE id = $1
