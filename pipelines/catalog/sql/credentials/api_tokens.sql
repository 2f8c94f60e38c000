SELECT id, secret_hash, account_id, kind, label, created_at_us, expires_at_us
FROM credentials
WHERE account_id = $1 AND kind = 'api_token' AND (created_at_us, id) < ($2, $3)
ORDER BY created_at_us DESC, id DESC
LIMIT $4
