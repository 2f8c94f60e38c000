INSERT INTO members (group_name, member, until_us) VALUES ($1, $2, $3)
ON CONFLICT (group_name, member) DO UPDATE SET until_us = excluded.until_us
