INSERT INTO accounts (id, login, login_key, password_hash, is_admin, created_at_us)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (login_key) DO NOTHING
