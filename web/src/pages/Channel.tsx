import { Group, Text, Title } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useParams } from 'react-router';
import { queries, useMe } from '../api/queries';
import { Avatar } from '../components/Avatar';
import { EmptyState } from '../components/EmptyState';
import { ProblemNotice } from '../components/ProblemNotice';
import { GridSkeleton, More, VideoGrid } from '../components/VideoGrid';
import { usePageTitle } from '../lib/page';

/** Everything public of one channel, newest first. */
export function Channel() {
  const { id = '' } = useParams();
  const me = useMe();
  const newest = useInfiniteQuery(queries.newest(id));
  const videos = newest.data?.pages.flatMap(page => page.items) ?? [];
  const channel = videos[0]?.channel ?? (me?.channel.id === id ? me.channel : undefined);
  usePageTitle(channel?.name ?? 'Channel');

  if (newest.isError) return <ProblemNotice error={newest.error} onRetry={() => void newest.refetch()} />;
  return (
    <>
      {channel && (
        <Group gap="lg" mb="xl" wrap="nowrap">
          <Avatar channel={channel} size={72} />
          <div>
            <Title order={1}>{channel.name}</Title>
            <Text c="dimmed">@{channel.handle}</Text>
          </div>
        </Group>
      )}
      {!newest.data && <GridSkeleton />}
      {newest.isSuccess && videos.length === 0 && (
        <EmptyState title="Nothing public here">This channel has no public videos that can be played.</EmptyState>
      )}
      <VideoGrid videos={videos} source="channel" label={`Videos of ${channel?.name ?? 'this channel'}`} />
      <More {...newest} />
    </>
  );
}
