INSERT INTO invitations (code_hash, created_by, expires_at_us) VALUES ($1, $2, $3)
ON CONFLICT (code_hash) DO NOTHING
