UPDATE uploads
SET state = 'aborted', expires_at_us = $2
WHERE id = $1 AND state = 'receiving' AND expires_at_us <= $2
