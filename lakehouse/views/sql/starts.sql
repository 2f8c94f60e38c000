-- Starts: the first granted event of kind `start` of each session that no rule has dropped.
select viewer_id, video_id, session_id, event_ts
from (
    select
        *,
        row_number() over (
            partition by viewer_id, video_id, session_id, life
            order by log_generation, log_offset, log_index
        ) as n
    from session_progress
    where kind = 'start' and granted and dropped_by is null
) as candidates
where n = 1
