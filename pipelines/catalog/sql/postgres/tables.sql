SELECT COUNT(*) AS n, COUNT(*) FILTER (WHERE tablename = '_sqlx_migrations') AS migrations,
    COUNT(*) FILTER (WHERE tablename IN ('accounts', 'counters', 'outbox')) AS known
FROM pg_catalog.pg_tables
WHERE schemaname = current_schema()
