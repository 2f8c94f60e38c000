UPDATE videos SET upload = 'complete' WHERE id = $1
