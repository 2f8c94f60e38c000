SELECT u.id, u.video_id, u.owner_id, u.length, u.received, u.state, u.metadata, u.file_name, u.created_at_us,
    u.expires_at_us
FROM uploads u
JOIN videos v ON v.id = u.video_id
WHERE u.state = 'aborted' AND v.deleted_at_us IS NULL
ORDER BY u.expires_at_us, u.id
LIMIT $1
