/** The server's data as React sees it: query keys, reading hooks, and how live events change the cache. */
import {
  QueryClient as Client,
  infiniteQueryOptions,
  type QueryClient,
  queryOptions,
  useQuery,
} from '@tanstack/react-query';
import { api } from './client';
import { Problem } from './problem';
import type { Counters, LiveState, Me, Page, Video } from './types';

const PAGE_SIZE = 24;

export function createQueryClient(): QueryClient {
  return new Client({
    defaultOptions: {
      queries: {
        staleTime: 30_000,
        retry: (failures, error) => failures < 2 && error instanceof Problem && error.transient && error.status !== 429,
      },
      mutations: { retry: false },
    },
  });
}

export const queries = {
  instance: () =>
    queryOptions({ queryKey: ['instance'], queryFn: ({ signal }) => api.instance(signal), staleTime: 600_000 }),
  me: () =>
    queryOptions({
      queryKey: ['me'],
      staleTime: 300_000,
      queryFn: async ({ signal }): Promise<Me | null> => {
        try {
          return await api.session(signal);
        } catch (error) {
          if (error instanceof Problem && error.status === 401) return null;
          throw error;
        }
      },
    }),
  trending: (limit: number) =>
    queryOptions({ queryKey: ['trending', limit], queryFn: ({ signal }) => api.trending(limit, signal) }),
  newest: (channel?: string) =>
    infiniteQueryOptions({
      queryKey: ['videos', channel ?? 'all'],
      initialPageParam: null as string | null,
      queryFn: ({ pageParam, signal }) => api.videos({ limit: PAGE_SIZE, cursor: pageParam, channel }, signal),
      getNextPageParam: page => page.next_cursor,
    }),
  search: (q: string) =>
    infiniteQueryOptions({
      queryKey: ['search', q],
      initialPageParam: null as string | null,
      queryFn: ({ pageParam, signal }) => api.search({ q, limit: PAGE_SIZE, cursor: pageParam }, signal),
      getNextPageParam: page => page.next_cursor,
    }),
  video: (id: string) =>
    queryOptions({ queryKey: ['video', id], queryFn: ({ signal }) => api.video(id, signal), staleTime: 10_000 }),
  related: (id: string) =>
    queryOptions({ queryKey: ['related', id], queryFn: ({ signal }) => api.related(id, 12, signal) }),
  studio: () =>
    infiniteQueryOptions({
      queryKey: ['studio'],
      initialPageParam: null as string | null,
      queryFn: ({ pageParam, signal }) => api.studioVideos({ limit: PAGE_SIZE, cursor: pageParam }, signal),
      getNextPageParam: page => page.next_cursor,
      staleTime: 0,
    }),
  stats: (id: string, hours: number) =>
    queryOptions({
      queryKey: ['stats', id, hours],
      queryFn: ({ signal }) => api.stats(id, hours, signal),
      placeholderData: previous => previous,
      staleTime: 5_000,
      refetchInterval: 30_000,
    }),
  uploads: () => queryOptions({ queryKey: ['uploads'], queryFn: ({ signal }) => api.uploads(signal), staleTime: 0 }),
  tokens: () => queryOptions({ queryKey: ['tokens'], queryFn: ({ signal }) => api.tokens(signal) }),
};

/** Undefined while unknown, null when signed out. */
export function useMe(): Me | null | undefined {
  return useQuery(queries.me()).data;
}

type Pages = { pages: Page<Video>[]; pageParams: unknown[] };

function changeVideo(client: QueryClient, id: string, change: (video: Video) => Video): void {
  client.setQueryData<Video>(['video', id], video => (video ? change(video) : video));
  client.setQueryData<Pages>(
    ['studio'],
    data =>
      data && {
        ...data,
        pages: data.pages.map(page => ({
          ...page,
          items: page.items.map(video => (video.id === id ? change(video) : video)),
        })),
      },
  );
}

export function applyCounters(client: QueryClient, id: string, counters: Counters): void {
  changeVideo(client, id, video => ({ ...video, counters }));
}

export function applyState(client: QueryClient, id: string, state: LiveState): void {
  changeVideo(client, id, video => ({ ...video, ...state }));
}

export function applyVideo(client: QueryClient, video: Video): void {
  client.setQueryData(['video', video.id], video);
  changeVideo(client, video.id, () => video);
}

export function forgetVideo(client: QueryClient, id: string): void {
  // A page that still shows it would ask for it again, in vain.
  client.removeQueries({ queryKey: ['video', id], type: 'inactive' });
  for (const key of ['studio', 'videos', 'trending', 'search', 'related', 'uploads']) {
    void client.invalidateQueries({ queryKey: [key] });
  }
}
