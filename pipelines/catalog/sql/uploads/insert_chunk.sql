INSERT INTO chunks (upload_id, start_byte, length, object_key) VALUES ($1, $2, $3, $4)
