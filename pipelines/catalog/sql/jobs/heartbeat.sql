UPDATE jobs SET leased_until_us = $3 WHERE id = $1 AND epoch = $2 AND state = 'leased'
