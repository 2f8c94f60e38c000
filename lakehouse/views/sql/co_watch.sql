-- Videos watched by the same viewers: for each video the 50 closest others.
--
-- A viewer weighs 2 for a video with a counted view, 1 for one with an engaged view alone; of each
-- viewer the 100 videos watched last are taken. score is the cosine of the two videos' weights
-- over all viewers, from 0 (no viewer in common) to 1; viewers is the number in common.
with watched as (
    select viewer_id, video_id, max(weight) as weight, max(event_ts) as last_ts
    from (
        select viewer_id, video_id, 2.0 as weight, event_ts
        from views
        union all
        select viewer_id, video_id, 1.0, event_ts
        from engaged_views
    ) as either_kind
    group by viewer_id, video_id
),
recent as (
    select viewer_id, video_id, weight
    from (
        select
            *,
            row_number() over (partition by viewer_id order by last_ts desc, video_id) as n
        from watched
    ) as latest
    where n <= 100
),
norms as (
    select video_id, sqrt(sum(weight * weight)) as norm
    from recent
    group by video_id
),
pairs as (
    select a.video_id, b.video_id as related_id, sum(a.weight * b.weight) as product, count(*) as viewers
    from recent as a
    inner join recent as b on a.viewer_id = b.viewer_id and a.video_id <> b.video_id
    group by a.video_id, b.video_id
),
scored as (
    select p.video_id, p.related_id, p.viewers, p.product / (na.norm * nb.norm) as score
    from pairs as p
    inner join norms as na on p.video_id = na.video_id
    inner join norms as nb on p.related_id = nb.video_id
)
select video_id, related_id, viewers, score, place
from (
    select
        *,
        row_number() over (partition by video_id order by score desc, related_id) as place
    from scored
) as ranked
where place <= 50
