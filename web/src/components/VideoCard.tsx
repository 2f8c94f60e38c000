/** A video in a list: poster, length, title, channel, views and age. The whole card is one link. */
import { VisuallyHidden } from '@mantine/core';
import { IconUsers, IconVocabulary } from '@tabler/icons-react';
import { Link } from 'react-router';
import type { RelatedCard, VideoCard as Video } from '../api/types';
import { age, badge, count, spokenDuration } from '../lib/format';
import type { WatchSource } from '../telemetry';
import { Avatar } from './Avatar';
import classes from './VideoCard.module.css';
import { Wheel } from './Wheel';

interface VideoCardProps {
  video: Video;
  /** Where the card stands, which the playback events tell. */
  source: WatchSource;
  rank?: number;
  reason?: RelatedCard['reason'];
  /** `row` puts the text beside the poster. */
  layout?: 'column' | 'row';
  eager?: boolean;
}

export function VideoCard({ video, source, rank, reason, layout = 'column', eager = false }: VideoCardProps) {
  const row = layout === 'row';
  return (
    <article className={`${classes.card} ${row ? classes.row : ''}`}>
      <Poster video={video} rank={rank} eager={eager} />
      <div className={classes.body}>
        {!row && <Avatar channel={video.channel} size={36} />}
        <div className={classes.text}>
          <h3 className={classes.title}>
            <Link to={`/watch/${video.id}`} state={{ source }}>
              {video.title}
            </Link>
          </h3>
          <div className={classes.meta}>
            <Link className={classes.channel} to={`/channel/${video.channel.id}`}>
              {video.channel.name}
            </Link>
          </div>
          <div className={classes.meta}>
            {count(video.counters.views, 'view')} · {age(video.published_at ?? video.created_at)}
          </div>
          {reason && <Reason reason={reason} />}
        </div>
      </div>
    </article>
  );
}

interface PosterProps {
  video: Pick<Video, 'poster_url' | 'duration_ms'>;
  rank?: number;
  eager?: boolean;
}

export function Poster({ video, rank, eager = false }: PosterProps) {
  return (
    <div className={classes.poster}>
      {video.poster_url ? (
        <img src={video.poster_url} alt="" loading={eager ? 'eager' : 'lazy'} decoding="async" />
      ) : (
        <div className={classes.blank}>
          <Wheel size={44} />
        </div>
      )}
      {rank !== undefined && (
        <span className={classes.rank} aria-hidden>
          {rank}
        </span>
      )}
      {video.duration_ms !== null && (
        <span className={classes.badge}>
          <span aria-hidden>{badge(video.duration_ms)}</span>
          <VisuallyHidden>{spokenDuration(video.duration_ms)}</VisuallyHidden>
        </span>
      )}
    </div>
  );
}

function Reason({ reason }: { reason: RelatedCard['reason'] }) {
  return (
    <div className={classes.reason}>
      {reason === 'watched_together' ? (
        <>
          <IconUsers size={13} aria-hidden /> Viewers also watched
        </>
      ) : (
        <>
          <IconVocabulary size={13} aria-hidden /> Similar subject
        </>
      )}
    </div>
  );
}
