INSERT INTO leases (name, owner, epoch, until_us)
VALUES ($1, $2, 1, $4)
ON CONFLICT (name) DO UPDATE
SET epoch = CASE
        WHEN leases.owner = excluded.owner AND leases.until_us > $3 THEN leases.epoch
        ELSE leases.epoch + 1
    END,
    owner = excluded.owner, until_us = excluded.until_us
WHERE leases.until_us <= $3 OR leases.owner = excluded.owner
RETURNING epoch
