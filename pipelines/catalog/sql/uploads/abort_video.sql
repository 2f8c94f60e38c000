UPDATE videos SET upload = 'aborted' WHERE id = $1
