DELETE FROM credentials
WHERE id IN (
    SELECT id FROM credentials
    WHERE expires_at_us IS NOT NULL AND expires_at_us <= $1
    ORDER BY expires_at_us
    LIMIT $2
)
