UPDATE videos
SET title = COALESCE($2, title), description = COALESCE($3, description), tags = COALESCE($4, tags),
    visibility = COALESCE($5, visibility)
WHERE id = $1 AND deleted_at_us IS NULL AND upload <> 'aborted' AND version = COALESCE($6, version)
