SELECT start_byte, length, object_key FROM chunks WHERE upload_id = $1 ORDER BY start_byte
