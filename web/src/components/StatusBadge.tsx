/** Where a video stands between its upload and its readiness, in words and as a bar. */
import { Badge, Progress, Stack, Text } from '@mantine/core';
import type { Video } from '../api/types';

type Stateful = Pick<Video, 'upload_state' | 'playback_state' | 'progress_percent' | 'failure'>;

export interface Status {
  label: string;
  color: string;
  /** More will happen without the owner. */
  working: boolean;
  percent: number | null;
}

export function statusOf(video: Stateful): Status {
  if (video.upload_state === 'aborted') return { label: 'Aborted', color: 'gray', working: false, percent: null };
  if (video.playback_state === 'failed') return { label: 'Failed', color: 'red', working: false, percent: null };
  if (video.playback_state === 'ready') return { label: 'Ready', color: 'race', working: false, percent: null };
  if (video.upload_state === 'receiving') return { label: 'Uploading', color: 'blue', working: true, percent: null };
  const percent = Math.min(100, Math.max(0, Math.round(video.progress_percent)));
  if (video.playback_state === 'playable') return { label: 'Playable', color: 'race', working: true, percent };
  return { label: 'Processing', color: 'grain', working: true, percent };
}

export function StatusBadge({ video }: { video: Stateful }) {
  const { label, color, percent } = statusOf(video);
  return (
    <Badge variant="light" color={color} radius="sm" tt="none" fw={600} data-status={label.toLowerCase()}>
      {label}
      {percent !== null && ` ${percent} %`}
    </Badge>
  );
}

/** The badge, a progress bar while there is work, and the reason of a failure. */
export function StatusDetail({ video }: { video: Stateful }) {
  const { percent, label, working } = statusOf(video);
  return (
    <Stack gap={6} aria-live="polite">
      <StatusBadge video={video} />
      {working && percent !== null && (
        <Progress value={percent} size="sm" radius="xl" animated aria-label={`${label}, ${percent} percent`} />
      )}
      {video.playback_state === 'failed' && video.failure && (
        <Text size="sm" c="red">
          {video.failure}
        </Text>
      )}
    </Stack>
  );
}
