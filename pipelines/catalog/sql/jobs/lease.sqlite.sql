-- Runs under BEGIN IMMEDIATE, so no other transaction can choose the same row meanwhile.
UPDATE jobs
SET state = 'leased', epoch = epoch + 1, attempt = attempt + 1, owner = $2, leased_until_us = $4
WHERE id = (
    SELECT id FROM jobs
    WHERE kind = $1 AND state IN ('queued', 'leased')
        AND ((state = 'queued' AND not_before_us <= $3) OR (state = 'leased' AND leased_until_us <= $3))
    ORDER BY created_at_us, id
    LIMIT 1
)
RETURNING id, kind, video_id, state, epoch, attempt, owner, leased_until_us
