-- Engaged views: the first event at which a session's watch time exceeds 10 s and whose source is
-- not an autoplaying preview.
select viewer_id, video_id, session_id, event_ts
from (
    select
        *,
        row_number() over (
            partition by viewer_id, video_id, session_id, life
            order by log_generation, log_offset, log_index
        ) as n
    from session_progress
    where watched_ms > 0 and watched_so_far_ms > 10000 and (source is null or source <> 'preview')
) as candidates
where n = 1
