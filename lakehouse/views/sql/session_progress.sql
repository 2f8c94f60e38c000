-- Every playback event with what its session has come to, in the order in which the rules fold.
--
-- * Fold order is (log_generation, log_offset, log_index): a viewer's events are all in one
--   partition of the topic, so this order is total for a viewer.
-- * A session is one viewer's playback of one video. After seven days without an event, by server
--   time, its number of lives rises by one and it begins anew.
-- * watched_ms is what the event adds to the watch time: the length of its interval of the
--   playhead, if the event is granted and no rule has dropped it. Rewatched parts count again.
-- * watched_so_far_ms is the sum of watched_ms over the life, this event included.
with previous as (
    select
        *,
        max(server_ts) over (
            partition by viewer_id, video_id, session_id
            order by log_generation, log_offset, log_index
            rows between unbounded preceding and 1 preceding
        ) as seen_before
    from playback_events
),
lives as (
    select
        *,
        sum(case when server_ts > seen_before + interval '7 days' then 1 else 0 end) over (
            partition by viewer_id, video_id, session_id
            order by log_generation, log_offset, log_index
            rows between unbounded preceding and current row
        ) as life,
        case
            when granted and dropped_by is null and media_to_ms > media_from_ms then media_to_ms - media_from_ms
            else 0
        end as watched_ms
    from previous
)
select
    viewer_id,
    video_id,
    session_id,
    life,
    log_generation,
    log_offset,
    log_index,
    kind,
    source,
    event_ts,
    granted,
    dropped_by,
    video_duration_ms,
    watched_ms,
    sum(watched_ms) over (
        partition by viewer_id, video_id, session_id, life
        order by log_generation, log_offset, log_index
        rows between unbounded preceding and current row
    ) as watched_so_far_ms
from lives
