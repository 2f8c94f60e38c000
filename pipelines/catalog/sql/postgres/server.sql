SELECT current_setting('server_version_num') AS version_num, current_setting('server_version') AS version,
    current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
    pg_is_in_recovery() AS is_standby, current_schema() IS NULL AS has_no_schema
