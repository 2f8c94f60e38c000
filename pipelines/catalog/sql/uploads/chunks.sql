SELECT start_byte, length, object_key FROM chunks
WHERE upload_id = $1 AND start_byte >= $2
ORDER BY start_byte
LIMIT $3
