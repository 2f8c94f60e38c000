/** One own video: its state, its counters live, its plots, and how to recount them. */
import { Anchor, Button, Code, CopyButton, Group, Stack, Text, Title } from '@mantine/core';
import { IconArrowLeft, IconCheck, IconCopy, IconEdit, IconPlayerPlay, IconTrash } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, useNavigate, useParams } from 'react-router';
import { useLiveVideo } from '../api/live';
import { asProblem } from '../api/problem';
import { queries } from '../api/queries';
import type { Counters, Video, VideoStats } from '../api/types';
import { PageLoading } from '../components/PageLoading';
import { ProblemNotice } from '../components/ProblemNotice';
import { StatusDetail } from '../components/StatusBadge';
import { Poster } from '../components/VideoCard';
import { moment, number, watchTime } from '../lib/format';
import { usePageTitle } from '../lib/page';
import { DeleteDialog } from '../studio/DeleteDialog';
import { EditDialog } from '../studio/EditDialog';
import { recountSql } from '../studio/figures';
import { RetentionPlot, ViewsPlot } from '../studio/Plots';
import classes from './Form.module.css';
import { NotFound } from './NotFound';
import { VisibilityMark } from './Studio';
import local from './StudioVideo.module.css';

export function StudioVideo() {
  const { id = '' } = useParams();
  const video = useQuery(queries.video(id));
  usePageTitle(video.data && `${video.data.title} – studio`);
  const navigate = useNavigate();
  useLiveVideo(id, video.isSuccess, { onDeleted: () => void navigate('/studio') });
  if (video.isError && !video.data) {
    if (asProblem(video.error).status < 500 && asProblem(video.error).status >= 400)
      return <NotFound title="This video is not here" />;
    return <ProblemNotice error={video.error} onRetry={() => void video.refetch()} />;
  }
  if (!video.data) return <PageLoading />;
  return video.data.owned ? <OwnVideo video={video.data} /> : <NotFound title="This video is not yours" />;
}

function OwnVideo({ video }: { video: Video }) {
  const navigate = useNavigate();
  const [dialog, setDialog] = useState<'edit' | 'delete' | null>(null);
  const [span, setSpan] = useState(168);
  const stats = useQuery(queries.stats(video.id, span));
  return (
    <Stack gap="lg" maw={1080} mx="auto">
      <Anchor component={Link} to="/studio" size="sm">
        <Group gap={4}>
          <IconArrowLeft size={16} aria-hidden /> Studio
        </Group>
      </Anchor>
      <div className={local.head}>
        <Poster video={video} eager />
        <Stack gap="sm">
          <Title order={1}>{video.title}</Title>
          <Group gap="md" c="dimmed">
            <VisibilityMark visibility={video.visibility} />
            <Text size="sm">
              {video.published_at ? `Published ${moment(video.published_at)}` : `Uploaded ${moment(video.created_at)}`}
            </Text>
          </Group>
          <StatusDetail video={video} />
          <Group gap="xs">
            <Button component={Link} to={`/watch/${video.id}`} size="sm" leftSection={<IconPlayerPlay size={16} />}>
              Watch
            </Button>
            <Button size="sm" variant="default" leftSection={<IconEdit size={16} />} onClick={() => setDialog('edit')}>
              Edit
            </Button>
            <Button
              size="sm"
              variant="subtle"
              color="red"
              leftSection={<IconTrash size={16} />}
              onClick={() => setDialog('delete')}
            >
              Delete
            </Button>
          </Group>
        </Stack>
      </div>
      <CounterCards counters={video.counters} />
      {stats.isError && !stats.data && <ProblemNotice error={stats.error} onRetry={() => void stats.refetch()} />}
      {stats.data && (
        <>
          <section className={classes.panel}>
            <ViewsPlot hours={stats.data.hours} span={span} onSpan={setSpan} />
          </section>
          <section className={classes.panel}>
            {stats.data.retention ? (
              <RetentionPlot retention={stats.data.retention} />
            ) : (
              <>
                <Title order={2}>Retention</Title>
                <Text c="dimmed">The curve appears here after the first views.</Text>
              </>
            )}
          </section>
          <Recount stats={stats.data} />
        </>
      )}
      <Making video={video} />
      {dialog === 'edit' && <EditDialog video={video} onClose={() => setDialog(null)} />}
      {dialog === 'delete' && (
        <DeleteDialog video={video} onClose={() => setDialog(null)} onDeleted={() => navigate('/studio')} />
      )}
    </Stack>
  );
}

function CounterCards({ counters }: { counters: Counters }) {
  const cards = [
    { name: 'Views', value: number(counters.views), counter: 'views' },
    { name: 'Engaged views', value: number(counters.engaged_views), counter: 'engaged' },
    { name: 'Starts', value: number(counters.starts), counter: 'starts' },
    { name: 'Watched', value: watchTime(counters.watch_ms), counter: 'watched' },
  ];
  return (
    <dl className={local.counters}>
      {cards.map(({ name, value, counter }) => (
        <div key={name} className={local.counter} data-counter={counter}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Says what the figures rest on, so that anyone can count again. */
function Recount({ stats }: { stats: VideoStats }) {
  const sql = recountSql(stats.video_id);
  const offsets = Object.entries(stats.as_of.offsets);
  return (
    <section className={classes.panel} aria-labelledby="recount">
      <Title order={2} id="recount">
        Count it yourself
      </Title>
      <Text size="sm" c="dimmed" mb="sm">
        As of {moment(stats.as_of.generated_at)}, rules version {stats.rule_version}
        {offsets.length > 0 && (
          <>, from the playback log up to {offsets.map(([partition, offset]) => `${partition}:${offset}`).join(', ')}</>
        )}
        . The same events lie in the lake:
      </Text>
      <Group gap="xs" wrap="nowrap" align="flex-start">
        <Code block flex={1} miw={0} style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
          {sql}
        </Code>
        <CopyButton value={sql}>
          {({ copied, copy }) => (
            <Button
              size="xs"
              variant="default"
              onClick={copy}
              leftSection={copied ? <IconCheck size={14} /> : <IconCopy size={14} />}
            >
              {copied ? 'Copied' : 'Copy'}
            </Button>
          )}
        </CopyButton>
      </Group>
    </section>
  );
}

/** What the upload was and what was made of it. */
function Making({ video }: { video: Video }) {
  if (!video.source && video.renditions.length === 0) return null;
  const { source, renditions } = video;
  const original = source && [
    source.format,
    source.width && source.height ? `${source.width} × ${source.height}` : null,
    source.video_codec,
    source.audio_codec,
  ];
  return (
    <section className={classes.panel} aria-labelledby="making">
      <Title order={2} id="making" mb="xs">
        Files
      </Title>
      {original && <Text size="sm">Original: {original.filter(part => part).join(' · ')}</Text>}
      {renditions.map(rendition => (
        <Text size="sm" key={rendition.name}>
          {rendition.name}
          {rendition.width && rendition.height ? ` · ${rendition.width} × ${rendition.height}` : ''} ·{' '}
          {rendition.codecs} · {number(Math.round(rendition.bandwidth / 1000))} kbit/s
          {!rendition.complete && ' · being made'}
        </Text>
      ))}
    </section>
  );
}
