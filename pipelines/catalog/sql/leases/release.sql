UPDATE leases SET owner = '', until_us = 0 WHERE name = $1 AND owner = $2 AND epoch = $3
