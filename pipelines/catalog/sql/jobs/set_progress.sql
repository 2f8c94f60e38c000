UPDATE videos SET progress = $2 WHERE id = $1
