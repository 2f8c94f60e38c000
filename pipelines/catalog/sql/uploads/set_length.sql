UPDATE uploads
SET length = $2
WHERE id = $1 AND state = 'receiving' AND received <= $2 AND (length IS NULL OR length = $2)
