DELETE FROM credentials WHERE account_id = $1 AND id = $2
