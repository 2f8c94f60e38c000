UPDATE videos
SET deleted_at_us = $2, upload = CASE WHEN upload = 'receiving' THEN 'aborted' ELSE upload END
WHERE id = $1 AND deleted_at_us IS NULL
