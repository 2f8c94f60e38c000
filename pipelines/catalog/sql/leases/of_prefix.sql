SELECT name, owner, epoch, until_us
FROM leases
WHERE name >= $1 AND name < $2 AND until_us > $3
ORDER BY name
