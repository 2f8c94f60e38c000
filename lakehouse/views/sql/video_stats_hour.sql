-- What was counted of each video in each UTC hour of event_ts. Hours with nothing are left out.
select
    video_id,
    date_trunc('hour', event_ts) as hour,
    cast(sum(starts) as bigint) as starts,
    cast(sum(views) as bigint) as views,
    cast(sum(engaged_views) as bigint) as engaged_views,
    cast(sum(watch_ms) as bigint) as watch_ms
from (
    select video_id, event_ts, 1 as starts, 0 as views, 0 as engaged_views, 0 as watch_ms
    from starts
    union all
    select video_id, event_ts, 0, 1, 0, 0
    from views
    union all
    select video_id, event_ts, 0, 0, 1, 0
    from engaged_views
    union all
    select video_id, event_ts, 0, 0, 0, media_to_ms - media_from_ms
    from playback_events
    where granted and dropped_by is null and media_to_ms > media_from_ms
) as counted
group by video_id, date_trunc('hour', event_ts)
