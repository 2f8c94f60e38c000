UPDATE uploads SET state = 'complete' WHERE id = $1 AND state = 'receiving' AND received = length
