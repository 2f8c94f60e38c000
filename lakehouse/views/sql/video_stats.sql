-- The counters of each video over all time.
select
    video_id,
    cast(sum(starts) as bigint) as starts,
    cast(sum(views) as bigint) as views,
    cast(sum(engaged_views) as bigint) as engaged_views,
    cast(sum(watch_ms) as bigint) as watch_ms
from video_stats_hour
group by video_id
