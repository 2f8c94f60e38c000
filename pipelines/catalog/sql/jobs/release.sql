UPDATE jobs
SET state = 'queued', not_before_us = $3, owner = NULL, leased_until_us = NULL
WHERE id = $1 AND epoch = $2 AND state = 'leased'
