/** The creator's own videos, in any state, with their live status. */
import { ActionIcon, Button, Group, Menu, Skeleton, Stack, Text, Title } from '@mantine/core';
import {
  IconChartBar,
  IconDotsVertical,
  IconEdit,
  IconEye,
  IconEyeOff,
  IconLink,
  IconLock,
  IconPlayerPlay,
  IconTrash,
  IconUpload,
} from '@tabler/icons-react';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'react-router';
import { useLiveVideo } from '../api/live';
import { queries } from '../api/queries';
import type { Video } from '../api/types';
import { EmptyState } from '../components/EmptyState';
import { ProblemNotice } from '../components/ProblemNotice';
import { StatusDetail, statusOf } from '../components/StatusBadge';
import { Poster } from '../components/VideoCard';
import { More } from '../components/VideoGrid';
import { age, count, watchTime } from '../lib/format';
import { usePageTitle } from '../lib/page';
import { DeleteDialog } from '../studio/DeleteDialog';
import { EditDialog } from '../studio/EditDialog';
import classes from './Studio.module.css';

/** Each live status holds a connection, and a browser grants a server few; the others are asked now and then. */
const LIVE_AT_MOST = 3;
const ASK_AGAIN_MS = 4_000;

type Open = { dialog: 'edit' | 'delete'; video: Video } | null;

export function Studio() {
  usePageTitle('Studio');
  const [open, setOpen] = useState<Open>(null);
  const own = useInfiniteQuery({
    ...queries.studio(),
    refetchInterval: query => {
      const videos = query.state.data?.pages.flatMap(page => page.items) ?? [];
      return videos.filter(video => statusOf(video).working).length > LIVE_AT_MOST ? ASK_AGAIN_MS : false;
    },
  });
  const videos = own.data?.pages.flatMap(page => page.items) ?? [];
  const live = new Set(
    videos
      .filter(video => statusOf(video).working)
      .slice(0, LIVE_AT_MOST)
      .map(video => video.id),
  );

  return (
    <>
      <Group justify="space-between" mb="lg">
        <Title order={1}>Studio</Title>
        <Button component={Link} to="/upload" leftSection={<IconUpload size={17} />}>
          Upload
        </Button>
      </Group>
      {own.isError && <ProblemNotice error={own.error} onRetry={() => void own.refetch()} />}
      {own.isPending && (
        <Stack gap={12} role="status" aria-label="Loading your videos">
          {[1, 2, 3, 4].map(n => (
            <Skeleton key={n} height={124} radius={14} />
          ))}
        </Stack>
      )}
      {own.isSuccess && videos.length === 0 && (
        <EmptyState
          title="You have no videos yet"
          action={
            <Button component={Link} to="/upload" mt="sm" leftSection={<IconUpload size={17} />}>
              Upload your first
            </Button>
          }
        >
          What you upload appears here, with its progress and its figures.
        </EmptyState>
      )}
      <ul className={classes.list} aria-label="Your videos">
        {videos.map(video => (
          <li key={video.id}>
            <Row
              video={video}
              live={live.has(video.id)}
              onEdit={() => setOpen({ dialog: 'edit', video })}
              onDelete={() => setOpen({ dialog: 'delete', video })}
            />
          </li>
        ))}
      </ul>
      <More {...own} />
      {open?.dialog === 'edit' && <EditDialog video={open.video} onClose={() => setOpen(null)} />}
      {open?.dialog === 'delete' && <DeleteDialog video={open.video} onClose={() => setOpen(null)} />}
    </>
  );
}

interface RowProps {
  video: Video;
  live: boolean;
  onEdit: () => void;
  onDelete: () => void;
}

function Row({ video, live, onEdit, onDelete }: RowProps) {
  useLiveVideo(video.id, live);
  const { counters } = video;
  return (
    <article className={classes.row} data-video={video.id}>
      <div className={classes.poster}>
        <Poster video={video} />
      </div>
      <div style={{ minWidth: 0 }}>
        <Link className={classes.title} to={`/studio/${video.id}`}>
          {video.title}
        </Link>
        <Group gap={6} mt={4} c="dimmed" wrap="nowrap">
          <VisibilityMark visibility={video.visibility} />
          <Text size="sm" truncate>
            · {age(video.created_at)}
          </Text>
        </Group>
      </div>
      <div className={classes.state}>
        <StatusDetail video={video} />
      </div>
      <div className={classes.figures}>
        <div>{count(counters.views, 'view')}</div>
        <Text component="div" inherit c="dimmed">
          {watchTime(counters.watch_ms)} watched
        </Text>
      </div>
      <div className={classes.menu}>
        <Menu position="bottom-end" width={190} shadow="md">
          <Menu.Target>
            <ActionIcon variant="subtle" color="gray" size={38} aria-label={`Actions for ${video.title}`}>
              <IconDotsVertical size={19} />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item component={Link} to={`/watch/${video.id}`} leftSection={<IconPlayerPlay size={16} />}>
              Watch
            </Menu.Item>
            <Menu.Item component={Link} to={`/studio/${video.id}`} leftSection={<IconChartBar size={16} />}>
              Figures
            </Menu.Item>
            <Menu.Item leftSection={<IconEdit size={16} />} onClick={onEdit}>
              Edit
            </Menu.Item>
            <Menu.Divider />
            <Menu.Item color="red" leftSection={<IconTrash size={16} />} onClick={onDelete}>
              Delete
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      </div>
    </article>
  );
}

const MARKS = {
  public: { icon: IconEye, label: 'Public' },
  unlisted: { icon: IconLink, label: 'Unlisted' },
  private: { icon: IconLock, label: 'Private' },
} as const;

export function VisibilityMark({ visibility }: { visibility: Video['visibility'] }) {
  const { icon: Icon, label } = MARKS[visibility] ?? { icon: IconEyeOff, label: visibility };
  return (
    <Group gap={4} wrap="nowrap">
      <Icon size={15} aria-hidden />
      <Text size="sm">{label}</Text>
    </Group>
  );
}
