SELECT id, secret_hash, account_id, kind, label, created_at_us, expires_at_us
FROM credentials
WHERE account_id = $1 AND kind = 'api_token'
ORDER BY created_at_us DESC, id DESC
