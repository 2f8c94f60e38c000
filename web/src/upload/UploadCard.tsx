/** One file on its way: its details before, its progress during, the video's state after. */
import { Button, Group, Progress, Text, Title } from '@mantine/core';
import {
  IconPlayerPauseFilled,
  IconPlayerPlayFilled,
  IconRefresh,
  IconTrash,
  IconUpload,
  IconX,
} from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { Link } from 'react-router';
import { useLiveVideo } from '../api/live';
import { queries } from '../api/queries';
import { ProblemNotice } from '../components/ProblemNotice';
import { StatusDetail, statusOf } from '../components/StatusBadge';
import { bytes, clock } from '../lib/format';
import { DetailsFields } from './DetailsFields';
import { type UploadItem, uploads } from './store';
import classes from './UploadCard.module.css';

export function UploadCard({ item }: { item: UploadItem }) {
  const { key, file, phase, details, uploadId } = item;
  const name = phase === 'draft' ? file.name : details.title;
  return (
    <section className={classes.card} aria-label={`Upload of ${name}`} data-upload={phase}>
      <div className={classes.head}>
        <div className={classes.name}>
          <Title order={3}>{name}</Title>
          <Text size="sm" c="dimmed">
            {phase !== 'draft' && file.name !== name && `${file.name} · `}
            {bytes(file.size)}
          </Text>
        </div>
        <Actions item={item} />
      </div>
      {phase === 'draft' && uploadId === null && (
        <DetailsFields value={details} onChange={change => uploads.describe(key, change)} />
      )}
      {phase !== 'draft' && phase !== 'sent' && <Sending item={item} />}
      {item.problem && <ProblemNotice error={item.problem} />}
      {phase === 'sent' && item.videoId && <Making videoId={item.videoId} onDeleted={() => void uploads.remove(key)} />}
    </section>
  );
}

function Actions({ item: { key, phase, details } }: { item: UploadItem }) {
  const remove = () => void uploads.remove(key);
  const start = () => void uploads.start(key);
  if (phase === 'sent') {
    return (
      <Button size="sm" variant="subtle" color="gray" leftSection={<IconX size={16} />} onClick={remove}>
        Take off the list
      </Button>
    );
  }
  return (
    <Group gap="xs">
      {phase === 'draft' && (
        <Button size="sm" leftSection={<IconUpload size={16} />} disabled={details.title.trim() === ''} onClick={start}>
          Upload
        </Button>
      )}
      {(phase === 'sending' || phase === 'starting') && (
        <Button
          size="sm"
          variant="default"
          leftSection={<IconPlayerPauseFilled size={16} />}
          onClick={() => void uploads.pause(key)}
        >
          Pause
        </Button>
      )}
      {phase === 'paused' && (
        <Button size="sm" leftSection={<IconPlayerPlayFilled size={16} />} onClick={start}>
          Go on
        </Button>
      )}
      {phase === 'failed' && (
        <Button size="sm" leftSection={<IconRefresh size={16} />} onClick={start}>
          Try again
        </Button>
      )}
      <Button size="sm" variant="subtle" color="red" leftSection={<IconTrash size={16} />} onClick={remove}>
        {phase === 'draft' ? 'Remove' : 'Cancel'}
      </Button>
    </Group>
  );
}

function Sending({ item: { file, sentBytes, speed, phase } }: { item: UploadItem }) {
  const percent = file.size === 0 ? 0 : Math.floor((sentBytes / file.size) * 100);
  const left = speed ? ((file.size - sentBytes) / speed) * 1000 : null;
  return (
    <>
      <Progress
        value={percent}
        size="lg"
        radius="xl"
        color={phase === 'failed' ? 'red' : undefined}
        striped={phase === 'paused'}
        aria-label={`${percent} percent sent`}
      />
      <Group justify="space-between" mt={6} mb="xs">
        <Text size="sm" c="dimmed">
          {percent} % · {bytes(sentBytes)} of {bytes(file.size)}
          {phase === 'paused' && ' · paused'}
        </Text>
        <Text size="sm" c="dimmed">
          {phase === 'sending' && speed !== null && `${bytes(speed)}/s`}
          {phase === 'sending' && left !== null && left > 1_000 && ` · ${clock(left)} left`}
        </Text>
      </Group>
    </>
  );
}

function Making({ videoId, onDeleted }: { videoId: string; onDeleted: () => void }) {
  const video = useQuery(queries.video(videoId));
  const done = video.data !== undefined && !statusOf(video.data).working;
  useLiveVideo(videoId, !done, { onDeleted });
  if (video.isError && !video.data) return <ProblemNotice error={video.error} onRetry={() => void video.refetch()} />;
  if (!video.data) return null;
  const watchable = video.data.hls_url !== null;
  return (
    <>
      <StatusDetail video={video.data} />
      <Group gap="xs" mt="sm">
        {watchable && (
          <Button component={Link} to={`/watch/${videoId}`} size="sm" leftSection={<IconPlayerPlayFilled size={16} />}>
            Watch
          </Button>
        )}
        <Button component={Link} to={`/studio/${videoId}`} size="sm" variant="default">
          Open in the studio
        </Button>
      </Group>
    </>
  );
}
