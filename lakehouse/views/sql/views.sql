-- Views: the qualifications that count.
--
-- Of one viewer's qualifications for one video, in fold order, the first counts, and then each
-- that lies 30 minutes or more away, before or after, from the last one that counted. Whether one
-- counts depends on which one counted before it, so the list is walked step by step: `stamps`
-- holds its times, `n` says how far the walk has come. The walk carries its list along, so the
-- events are read once however long it is.
with recursive lists as (
    select
        viewer_id,
        video_id,
        array_agg(event_ts order by log_generation, log_offset, log_index) as stamps,
        array_agg(session_id order by log_generation, log_offset, log_index) as sessions
    from view_qualifications
    group by viewer_id, video_id
),
walk as (
    select
        viewer_id,
        video_id,
        stamps,
        sessions,
        cast(1 as bigint) as n,
        true as counts,
        stamps[1] as last_counted
    from lists
    union all
    select
        viewer_id,
        video_id,
        stamps,
        sessions,
        n,
        counts,
        case when counts then stamps[n] else last_counted end as last_counted
    from (
        select
            viewer_id,
            video_id,
            stamps,
            sessions,
            n + 1 as n,
            last_counted,
            stamps[n + 1] >= last_counted + interval '30 minutes'
                or stamps[n + 1] <= last_counted - interval '30 minutes' as counts
        from walk
        where n < cardinality(stamps)
    ) as step
)
select viewer_id, video_id, sessions[n] as session_id, stamps[n] as event_ts
from walk
where counts
