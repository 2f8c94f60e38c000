INSERT INTO channels (id, owner_id, handle, name)
VALUES ($1, $2, $3, $4)
ON CONFLICT (handle) DO NOTHING
