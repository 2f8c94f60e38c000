/** The watch page: player, facts, description and related videos; live counters and, for the owner, live progress. */
import {
  Anchor,
  Badge,
  Button,
  CopyButton,
  Group,
  Progress,
  Skeleton,
  Spoiler,
  Stack,
  Text,
  Title,
} from '@mantine/core';
import { IconAlertTriangle, IconChartBar, IconCheck, IconEyeOff, IconLink } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useRef, useState } from 'react';
import { Link, useParams } from 'react-router';
import { useLiveVideo } from '../api/live';
import { asProblem } from '../api/problem';
import { queries } from '../api/queries';
import type { Video } from '../api/types';
import { Avatar } from '../components/Avatar';
import { ProblemNotice } from '../components/ProblemNotice';
import { RichText } from '../components/RichText';
import { statusOf } from '../components/StatusBadge';
import { VideoCard } from '../components/VideoCard';
import { Wheel } from '../components/Wheel';
import { day, number, watchTime } from '../lib/format';
import { usePageTitle } from '../lib/page';
import { Player } from '../player/Player';
import { NotFound } from './NotFound';
import { usePlayback } from './usePlayback';
import classes from './Watch.module.css';

export function Watch() {
  const { id = '' } = useParams();
  // Another video is another visit: nothing of the last one's player may stay.
  return <WatchVideo key={id} id={id} />;
}

function WatchVideo({ id }: { id: string }) {
  const video = useQuery(queries.video(id));
  const [deleted, setDeleted] = useState(false);
  usePageTitle(video.data?.title);
  useLiveVideo(id, video.isSuccess && !deleted, { onDeleted: () => setDeleted(true) });

  if (deleted) return <NotFound title="This video was deleted" />;
  if (video.isError && !video.data) {
    const { status } = asProblem(video.error);
    // Ids of another form are refused as bad requests; for a visitor that is the same.
    if (status === 404 || status === 400 || status === 422) return <NotFound title="This video is not here" />;
    return <ProblemNotice error={video.error} onRetry={() => void video.refetch()} />;
  }
  return (
    <div className={classes.layout}>
      {video.data ? <Stage video={video.data} /> : <StageSkeleton />}
      <aside aria-labelledby="related">
        <Title order={2} id="related" mb="md">
          Related
        </Title>
        <Related id={id} />
      </aside>
    </div>
  );
}

function Stage({ video }: { video: Video }) {
  const playing = video.hls_url !== null && (video.playback_state === 'playable' || video.playback_state === 'ready');
  const media = useRef<HTMLVideoElement>(null);
  return (
    <article>
      {playing ? <Playing video={video} media={media} /> : <NotReady video={video} />}
      <Title order={1} className={classes.title}>
        {video.title}
      </Title>
      <div className={classes.byline}>
        <Link className={classes.channel} to={`/channel/${video.channel.id}`}>
          <Avatar channel={video.channel} size={44} />
          <span>
            <span className={classes.name}>{video.channel.name}</span>
            <Text component="span" display="block" size="sm" c="dimmed">
              @{video.channel.handle}
            </Text>
          </span>
        </Link>
        <Group gap="xs">
          <Visibility video={video} />
          {video.owned && (
            <Button
              component={Link}
              to={`/studio/${video.id}`}
              variant="light"
              size="sm"
              leftSection={<IconChartBar size={17} />}
            >
              Studio
            </Button>
          )}
          <CopyButton value={`${window.location.origin}/watch/${video.id}`}>
            {({ copied, copy }) => (
              <Button
                variant="default"
                size="sm"
                onClick={copy}
                leftSection={copied ? <IconCheck size={17} /> : <IconLink size={17} />}
              >
                {copied ? 'Copied' : 'Copy link'}
              </Button>
            )}
          </CopyButton>
        </Group>
      </div>
      <Facts video={video} onSeek={seconds => seek(media.current, seconds)} />
    </article>
  );
}

function Playing({ video, media }: { video: Video; media: React.RefObject<HTMLVideoElement | null> }) {
  const playback = usePlayback(video, media);
  const { percent, working } = statusOf(video);
  return (
    <div className={classes.player}>
      <Player
        media={media}
        src={playback.src}
        title={video.title}
        poster={video.poster_url}
        durationMs={video.duration_ms}
        autoPlay
        onRendition={playback.onRendition}
        onFailure={playback.onFailure}
      />
      {video.owned && working && percent !== null && (
        <Group gap="sm" mt="sm" aria-live="polite">
          <Text size="sm" c="dimmed">
            Better qualities are being made: {percent} %
          </Text>
          <Progress value={percent} flex={1} miw={120} animated aria-label={`${percent} percent`} />
        </Group>
      )}
    </div>
  );
}

function NotReady({ video }: { video: Video }) {
  const { label, percent } = statusOf(video);
  const failed = video.playback_state === 'failed' || video.upload_state === 'aborted';
  return (
    <div className={classes.stage} data-status={label.toLowerCase()}>
      <Stack align="center" ta="center" gap="sm" maw={440} w="100%" aria-live="polite">
        {failed ? <IconAlertTriangle size={48} aria-hidden /> : <Wheel size={64} turning />}
        <Text fw={600} size="lg">
          {notReadyTitle(video)}
        </Text>
        <Text c="dimmed">{notReadyReason(video)}</Text>
        {!failed && percent !== null && (
          <Progress value={percent} w="100%" size="lg" radius="xl" animated aria-label={`${percent} percent`} />
        )}
      </Stack>
    </div>
  );
}

function notReadyTitle({ upload_state, playback_state }: Video): string {
  if (upload_state === 'aborted') return 'The upload was aborted';
  if (playback_state === 'failed') return 'This video could not be processed';
  return upload_state === 'receiving' ? 'The upload is not finished yet' : 'This video is being processed';
}

function notReadyReason(video: Video): string {
  if (video.playback_state === 'failed') return video.failure ?? 'It can’t be played.';
  if (video.upload_state === 'aborted') return 'What had arrived of it was thrown away.';
  if (video.upload_state === 'receiving') return 'It goes on where it was left, from the upload page.';
  return `It starts to play here by itself as soon as it can. ${Math.round(video.progress_percent)} % done.`;
}

function Visibility({ video }: { video: Video }) {
  if (video.visibility === 'public') return null;
  return (
    <Badge variant="light" color="grain" size="lg" radius="sm" tt="none" leftSection={<IconEyeOff size={15} />}>
      {video.visibility === 'private' ? 'Private' : 'Unlisted'}
    </Badge>
  );
}

function Facts({ video, onSeek }: { video: Video; onSeek: (seconds: number) => void }) {
  const { counters } = video;
  return (
    <section className={classes.box} aria-label="About this video">
      <div className={classes.facts}>
        <span data-counter="views" data-value={counters.views}>
          {number(counters.views)} {counters.views === 1 ? 'view' : 'views'}
        </span>
        <span className={classes.muted}>{day(video.published_at ?? video.created_at)}</span>
        <span className={classes.muted}>
          {number(counters.starts)} started · {number(counters.engaged_views)} engaged · {watchTime(counters.watch_ms)}{' '}
          watched
        </span>
      </div>
      {video.description !== '' && (
        <Spoiler maxHeight={104} showLabel="Show more" hideLabel="Show less" mt={0}>
          <div className={classes.description}>
            <RichText text={video.description} onSeek={onSeek} />
          </div>
        </Spoiler>
      )}
      {video.tags.length > 0 && (
        <Group component="ul" gap={8} mt="sm" p={0} aria-label="Tags" style={{ listStyle: 'none' }}>
          {video.tags.map(tag => (
            <li key={tag}>
              <Anchor component={Link} to={`/search?${new URLSearchParams({ q: tag })}`} size="sm">
                #{tag}
              </Anchor>
            </li>
          ))}
        </Group>
      )}
    </section>
  );
}

function Related({ id }: { id: string }) {
  const related = useQuery(queries.related(id));
  if (related.isError) {
    // A video that is not there says so itself.
    return asProblem(related.error).status === 404 ? null : (
      <ProblemNotice error={related.error} onRetry={() => void related.refetch()} />
    );
  }
  if (!related.data) return <Skeleton height={280} radius={12} />;
  if (related.data.items.length === 0) {
    return <Text c="dimmed">Nothing like it yet. The more is watched, the better this gets.</Text>;
  }
  return (
    <ul className={classes.related}>
      {related.data.items.map(video => (
        <li key={video.id}>
          <VideoCard video={video} source="related" reason={video.reason} layout="row" />
        </li>
      ))}
    </ul>
  );
}

function StageSkeleton() {
  return (
    <div role="status" aria-label="Loading video">
      <Skeleton radius={14} style={{ aspectRatio: '16 / 9', height: 'auto' }} />
      <Skeleton height={26} width="60%" mt="md" />
      <Skeleton height={44} width="35%" mt="md" />
    </div>
  );
}

function seek(media: HTMLVideoElement | null, seconds: number): void {
  if (!media) return;
  media.currentTime = seconds;
  media.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
  media.play().catch(() => undefined);
}
