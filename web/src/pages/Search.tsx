import { Text, Title } from '@mantine/core';
import { IconSearch, IconZoomExclamation } from '@tabler/icons-react';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useSearchParams } from 'react-router';
import { queries } from '../api/queries';
import { EmptyState } from '../components/EmptyState';
import { ProblemNotice } from '../components/ProblemNotice';
import { GridSkeleton, More, VideoGrid } from '../components/VideoGrid';
import { number } from '../lib/format';
import { usePageTitle } from '../lib/page';

export function Search() {
  const [params] = useSearchParams();
  const q = (params.get('q') ?? '').trim();
  usePageTitle(q === '' ? 'Search' : `${q} – search`);
  if (q === '') {
    return (
      <EmptyState order={1} title="What are you looking for?" icon={<IconSearch size={56} stroke={1.3} aria-hidden />}>
        Press <kbd>/</kbd> and type words of a title, a description or a tag.
      </EmptyState>
    );
  }
  return <Results q={q} />;
}

function Results({ q }: { q: string }) {
  const found = useInfiniteQuery(queries.search(q));
  if (found.isError) return <ProblemNotice error={found.error} onRetry={() => void found.refetch()} />;
  const total = found.data?.pages[0]?.total;
  const videos = found.data?.pages.flatMap(page => page.items) ?? [];
  if (total === 0) {
    return (
      <EmptyState
        order={1}
        title={`Nothing found for “${q}”`}
        icon={<IconZoomExclamation size={56} stroke={1.3} aria-hidden />}
      >
        Try fewer or other words. Titles, descriptions and tags of all public videos are searched.
      </EmptyState>
    );
  }
  return (
    <>
      <Title order={1}>Results for “{q}”</Title>
      <Text c="dimmed" mb="lg" role="status">
        {total === undefined ? 'Searching …' : `${number(total)} ${total === 1 ? 'video' : 'videos'}`}
      </Text>
      {found.data ? <VideoGrid videos={videos} source="search" label="Search results" /> : <GridSkeleton cards={8} />}
      <More {...found} />
    </>
  );
}
