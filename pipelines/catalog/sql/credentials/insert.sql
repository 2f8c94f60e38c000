INSERT INTO credentials (id, secret_hash, account_id, kind, label, created_at_us, expires_at_us)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
