UPDATE videos SET version = version WHERE id = $1
