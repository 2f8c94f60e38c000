/** The start page: what is watched these days, then everything, newest first. */
import { Button, Stack, Title } from '@mantine/core';
import { IconFlame, IconUpload } from '@tabler/icons-react';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { Link } from 'react-router';
import { queries, useMe } from '../api/queries';
import { EmptyState } from '../components/EmptyState';
import { ProblemNotice } from '../components/ProblemNotice';
import { GridSkeleton, More, VideoGrid, VideoRow } from '../components/VideoGrid';
import { usePageTitle } from '../lib/page';

const TRENDING = 10;

export function Home() {
  usePageTitle(null);
  const trending = useQuery(queries.trending(TRENDING));
  const newest = useInfiniteQuery(queries.newest());
  const videos = newest.data?.pages.flatMap(page => page.items) ?? [];

  if (newest.isError && videos.length === 0) {
    return <ProblemNotice error={newest.error} onRetry={() => void newest.refetch()} />;
  }
  if (newest.isSuccess && videos.length === 0) return <Nothing />;
  return (
    <Stack gap={26}>
      <h1 className="sr-only">Millrace</h1>
      {(trending.isPending || (trending.data && trending.data.items.length > 0)) && (
        <section aria-labelledby="trending">
          <Title order={2} id="trending" mb="sm" style={{ display: 'flex', alignItems: 'center', gap: 8 }}>
            <IconFlame size={24} color="var(--mr-grain)" aria-hidden /> Trending
          </Title>
          {trending.data ? (
            <VideoRow videos={trending.data.items} source="home" label="Trending videos" />
          ) : (
            <GridSkeleton cards={5} row />
          )}
        </section>
      )}
      <section aria-labelledby="newest">
        <Title order={2} id="newest" mb="md">
          Newest
        </Title>
        {newest.data ? <VideoGrid videos={videos} source="home" label="Newest videos" /> : <GridSkeleton cards={12} />}
        <More {...newest} />
      </section>
    </Stack>
  );
}

function Nothing() {
  const me = useMe();
  return (
    <EmptyState
      order={1}
      title="The wheel is ready, the water is missing"
      action={
        <Button
          component={Link}
          to={me ? '/upload' : '/sign-in'}
          mt="sm"
          size="md"
          leftSection={<IconUpload size={18} />}
        >
          {me ? 'Upload the first video' : 'Sign in to upload the first video'}
        </Button>
      }
    >
      No video has been published here yet. Upload one, and it appears as soon as it can be played.
    </EmptyState>
  );
}
