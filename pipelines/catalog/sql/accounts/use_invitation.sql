DELETE FROM invitations WHERE code_hash = $1 AND expires_at_us > $2
