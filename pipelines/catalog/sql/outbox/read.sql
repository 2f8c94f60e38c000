SELECT id, topic, record_key, schema_id, payload FROM outbox ORDER BY id LIMIT $1
