DELETE FROM invitations
WHERE code_hash IN (
    SELECT code_hash FROM invitations
    WHERE expires_at_us <= $1
    ORDER BY expires_at_us
    LIMIT $2
)
