-- Sessions that qualify as a view, at the event that makes them one: the first at which the
-- session's watch time reaches 30 s, or half of a video shorter than a minute. Not all of them
-- count; see `views`.
select viewer_id, video_id, session_id, event_ts, log_generation, log_offset, log_index
from (
    select
        *,
        row_number() over (
            partition by viewer_id, video_id, session_id, life
            order by log_generation, log_offset, log_index
        ) as n
    from session_progress
    where watched_ms > 0
        and case
            when video_duration_ms < 60000 then 2 * watched_so_far_ms >= video_duration_ms
            else watched_so_far_ms >= 30000
        end
) as candidates
where n = 1
