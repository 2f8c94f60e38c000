UPDATE uploads
SET received = received + $3, expires_at_us = $4
WHERE id = $1 AND state = 'receiving' AND received = $2 AND (length IS NULL OR received + $3 <= length)
