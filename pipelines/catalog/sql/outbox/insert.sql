INSERT INTO outbox (id, topic, record_key, schema_id, payload) VALUES ($1, $2, $3, $4, $5)
