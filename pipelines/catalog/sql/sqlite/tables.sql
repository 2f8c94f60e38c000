SELECT COUNT(*) AS n, COALESCE(SUM(name = '_sqlx_migrations'), 0) AS migrations,
    COALESCE(SUM(name IN ('accounts', 'counters', 'outbox')), 0) AS known
FROM sqlite_master
WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
