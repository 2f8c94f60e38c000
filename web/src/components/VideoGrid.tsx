/** Lists of video cards: a grid that grows by "more", and a row that scrolls sideways. */
import { Button, Center, Group, Skeleton, VisuallyHidden } from '@mantine/core';
import { useIntersection } from '@mantine/hooks';
import { type ReactNode, useEffect } from 'react';
import type { VideoCard as Video } from '../api/types';
import type { WatchSource } from '../telemetry';
import { VideoCard } from './VideoCard';
import classes from './VideoGrid.module.css';

interface VideoGridProps {
  videos: Video[];
  source: WatchSource;
  label: string;
}

export function VideoGrid({ videos, source, label }: VideoGridProps) {
  return (
    <ul className={classes.grid} aria-label={label}>
      {videos.map((video, n) => (
        <li key={video.id}>
          <VideoCard video={video} source={source} eager={n < 4} />
        </li>
      ))}
    </ul>
  );
}

export function VideoRow({ videos, source, label }: VideoGridProps) {
  return (
    <ul className={classes.scroller} aria-label={label}>
      {videos.map((video, n) => (
        <li key={video.id}>
          <VideoCard video={video} source={source} rank={n + 1} eager={n < 5} />
        </li>
      ))}
    </ul>
  );
}

export function GridSkeleton({ cards = 8, row = false }: { cards?: number; row?: boolean }) {
  return (
    <div className={row ? classes.scroller : classes.grid} role="status">
      <VisuallyHidden>Loading videos</VisuallyHidden>
      {Array.from({ length: cards }, (_, n) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: placeholders are all alike
        <div key={n} aria-hidden>
          <Skeleton radius={12} style={{ aspectRatio: '16 / 9', height: 'auto' }} />
          <Group gap={10} mt={10} wrap="nowrap" align="flex-start">
            <Skeleton circle height={36} />
            <div style={{ flex: 1 }}>
              <Skeleton height={13} mt={4} width="88%" />
              <Skeleton height={11} mt={10} width="52%" />
            </div>
          </Group>
        </div>
      ))}
    </div>
  );
}

interface MoreProps {
  hasNextPage: boolean;
  isFetchingNextPage: boolean;
  fetchNextPage: () => unknown;
  children?: ReactNode;
}

/** Loads the next page when it scrolls near, or on a press for those who don't scroll. */
export function More({ hasNextPage, isFetchingNextPage, fetchNextPage, children = 'Show more' }: MoreProps) {
  const { ref, entry } = useIntersection({ rootMargin: '600px' });
  const near = entry?.isIntersecting ?? false;
  useEffect(() => {
    if (near && hasNextPage && !isFetchingNextPage) fetchNextPage();
  }, [near, hasNextPage, isFetchingNextPage, fetchNextPage]);
  if (!hasNextPage) return null;
  return (
    <Center mt={36} ref={ref}>
      <Button variant="default" loading={isFetchingNextPage} onClick={() => fetchNextPage()}>
        {children}
      </Button>
    </Center>
  );
}
