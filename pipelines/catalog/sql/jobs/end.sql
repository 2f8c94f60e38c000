UPDATE jobs SET state = $2, ended_at_us = $3, leased_until_us = NULL WHERE id = $1
