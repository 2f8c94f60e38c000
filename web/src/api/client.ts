/** Every call of the HTTP API that the app makes, typed. A call resolves with the reply or throws a `Problem`. */
import { problemOf, unreachable } from './problem';
import type {
  ApiToken,
  Credentials,
  Instance,
  Invitation,
  Me,
  NewAccount,
  NewApiToken,
  Page,
  PlaybackSession,
  RelatedCard,
  SearchPage,
  UnfinishedUpload,
  Video,
  VideoCard,
  VideoEdit,
  VideoStats,
} from './types';

const BASE = '/api/v1';

type Query = Record<string, string | number | null | undefined>;

interface Call {
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
}

async function call<T>(method: string, path: string, { query, body, signal }: Call = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json, application/problem+json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let reply: Response;
  try {
    reply = await fetch(BASE + path + queryString(query), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: 'same-origin',
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw unreachable(error);
  }
  if (!reply.ok) throw await problemOf(reply);
  return reply.status === 204 ? (undefined as T) : ((await reply.json()) as T);
}

function queryString(query: Query = {}): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '');
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs.map(([name, value]) => [name, String(value)]))}`;
}

const id = encodeURIComponent;

export const api = {
  instance: (signal?: AbortSignal) => call<Instance>('GET', '/instance', { signal }),

  signUp: (account: NewAccount) => call<Me>('POST', '/accounts', { body: account }),
  signIn: (credentials: Credentials) => call<Me>('POST', '/session', { body: credentials }),
  session: (signal?: AbortSignal) => call<Me>('GET', '/session', { signal }),
  signOut: () => call<void>('DELETE', '/session'),

  tokens: (signal?: AbortSignal) => call<{ items: ApiToken[] }>('GET', '/tokens', { signal }),
  createToken: (label: string) => call<NewApiToken>('POST', '/tokens', { body: { label } }),
  deleteToken: (tokenId: string) => call<void>('DELETE', `/tokens/${id(tokenId)}`),
  invite: () => call<Invitation>('POST', '/invitations'),

  videos: (query: { limit?: number; cursor?: string | null; channel?: string }, signal?: AbortSignal) =>
    call<Page<VideoCard>>('GET', '/videos', { query, signal }),
  trending: (limit: number, signal?: AbortSignal) =>
    call<{ items: VideoCard[] }>('GET', '/trending', { query: { limit }, signal }),
  search: (query: { q: string; limit?: number; cursor?: string | null }, signal?: AbortSignal) =>
    call<SearchPage>('GET', '/search', { query, signal }),
  related: (videoId: string, limit: number, signal?: AbortSignal) =>
    call<{ items: RelatedCard[] }>('GET', `/videos/${id(videoId)}/related`, { query: { limit }, signal }),

  video: (videoId: string, signal?: AbortSignal) => call<Video>('GET', `/videos/${id(videoId)}`, { signal }),
  editVideo: (videoId: string, edit: VideoEdit) => call<Video>('PATCH', `/videos/${id(videoId)}`, { body: edit }),
  deleteVideo: (videoId: string) => call<void>('DELETE', `/videos/${id(videoId)}`),
  openPlayback: (videoId: string, signal?: AbortSignal) =>
    call<PlaybackSession>('POST', `/videos/${id(videoId)}/playback`, { signal }),
  eventsUrl: (videoId: string) => `${BASE}/videos/${id(videoId)}/events`,

  studioVideos: (query: { limit?: number; cursor?: string | null }, signal?: AbortSignal) =>
    call<Page<Video>>('GET', '/studio/videos', { query, signal }),
  stats: (videoId: string, hours: number, signal?: AbortSignal) =>
    call<VideoStats>('GET', `/videos/${id(videoId)}/stats`, { query: { hours }, signal }),
  uploads: (signal?: AbortSignal) => call<{ items: UnfinishedUpload[] }>('GET', '/uploads', { signal }),
};
