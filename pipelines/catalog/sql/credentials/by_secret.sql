SELECT id, secret_hash, account_id, kind, label, created_at_us, expires_at_us
FROM credentials
WHERE secret_hash = $1 AND (expires_at_us IS NULL OR expires_at_us > $2)
