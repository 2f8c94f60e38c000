-- A job that another transaction is about to take is passed over, so none waits for another. The lock
-- judges the latest version of the row, and the update finds it held by its own transaction.
UPDATE jobs
SET state = 'leased', epoch = epoch + 1, attempt = attempt + 1, owner = $2, leased_until_us = $4
WHERE id = (
    SELECT id FROM jobs
    WHERE kind = $1 AND state IN ('queued', 'leased')
        AND ((state = 'queued' AND not_before_us <= $3) OR (state = 'leased' AND leased_until_us <= $3))
    ORDER BY created_at_us, id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING id, kind, video_id, state, epoch, attempt, owner, leased_until_us
