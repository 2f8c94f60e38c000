UPDATE videos SET source = $2 WHERE id = $1
