-- The retention curve of each video: 100 points, point p being the part of the video from
-- p hundredths of its length to p + 1.
--
-- * watched_ratio: time watched in this part, rewatches included, over views times the part's
--   length; may exceed 1. Null while the video has no view.
-- * viewers_ratio: sessions that saw any of this part over the sessions that watched anything; at
--   most 1.
--
-- The length is the greatest that a grant has stated; what lies beyond it is left out.
with lengths as (
    select video_id, max(video_duration_ms) as duration_ms
    from playback_events
    where granted and dropped_by is null
    group by video_id
),
intervals as (
    select
        e.viewer_id,
        e.video_id,
        e.session_id,
        l.duration_ms,
        e.media_from_ms as from_ms,
        least(e.media_to_ms, l.duration_ms) as to_ms
    from playback_events as e
    inner join lengths as l on e.video_id = l.video_id
    where e.granted
        and e.dropped_by is null
        and e.media_to_ms > e.media_from_ms
        and e.media_from_ms < l.duration_ms
),
pieces as (
    select
        viewer_id,
        video_id,
        session_id,
        duration_ms,
        from_ms,
        to_ms,
        unnest(generate_series(
            cast(floor(from_ms * 100.0 / duration_ms) as bigint),
            cast(ceil(to_ms * 100.0 / duration_ms) as bigint) - 1
        )) as point
    from intervals
),
by_session as (
    select
        video_id,
        viewer_id,
        session_id,
        point,
        sum(
            least(to_ms, (point + 1) * duration_ms / 100.0) - greatest(from_ms, point * duration_ms / 100.0)
        ) as watched_ms
    from pieces
    group by video_id, viewer_id, session_id, point
),
by_point as (
    select video_id, point, sum(watched_ms) as watched_ms, count(*) as sessions
    from by_session
    group by video_id, point
),
audience as (
    select video_id, count(*) as sessions
    from (select distinct video_id, viewer_id, session_id from intervals) as watching
    group by video_id
),
counted as (
    select video_id, count(*) as views
    from views
    group by video_id
),
points as (
    select unnest(generate_series(0, 99)) as point
)
select
    a.video_id,
    g.point,
    l.duration_ms,
    a.sessions,
    coalesce(c.views, 0) as views,
    coalesce(p.watched_ms, 0.0) / (c.views * l.duration_ms / 100.0) as watched_ratio,
    cast(coalesce(p.sessions, 0) as double) / a.sessions as viewers_ratio
from audience as a
cross join points as g
inner join lengths as l on a.video_id = l.video_id
left join counted as c on a.video_id = c.video_id
left join by_point as p on a.video_id = p.video_id and g.point = p.point
