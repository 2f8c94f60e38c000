SELECT COUNT(*) AS n FROM accounts
