/** Draws the app's pages for tests, with an API that answers as told. */
import { MantineProvider } from '@mantine/core';
import { QueryClientProvider } from '@tanstack/react-query';
import { render } from '@testing-library/react';
import { createMemoryRouter, RouterProvider } from 'react-router';
import { vi } from 'vitest';
import { createQueryClient } from '../api/queries';
import type { VideoCard } from '../api/types';
import { routes } from '../app/App';
import { cssVariablesResolver, theme } from '../app/theme';

export interface Exchange {
  method: string;
  path: string;
  body: unknown;
}

/** Answers by `METHOD /path` (without query); a function makes the whole reply. */
export type Answers = Record<string, object | ((body: unknown) => Response)>;

export function showPage(path: string, answers: Answers) {
  const asked: Exchange[] = [];
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
    const url = new URL(String(input), 'http://localhost');
    const method = init?.method ?? 'GET';
    const body = typeof init?.body === 'string' ? JSON.parse(init.body) : undefined;
    asked.push({ method, path: url.pathname + url.search, body });
    const key = `${method} ${url.pathname.replace('/api/v1', '')}`;
    if (!(key in answers)) return problem(404, 'not-found', 'There is no such thing.');
    const answer = answers[key];
    return typeof answer === 'function' ? answer(body) : json(answer);
  });
  const router = createMemoryRouter(routes, { initialEntries: [path] });
  render(
    <MantineProvider theme={theme} cssVariablesResolver={cssVariablesResolver} env="test">
      <QueryClientProvider client={createQueryClient()}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>,
  );
  return { asked, router };
}

export function json(body: unknown, status = 200): Response {
  return new Response(JSON.stringify(body), { status, headers: { 'Content-Type': 'application/json' } });
}

export function problem(status: number, slug: string, detail: string, more: object = {}): Response {
  const body = { type: `/problems/${slug}`, title: slug, status, detail, ...more };
  return new Response(JSON.stringify(body), { status, headers: { 'Content-Type': 'application/problem+json' } });
}

export const instance = { name: 'Millrace', sign_up: 'open', max_upload_bytes: 1_000_000, version: '0.1.0' };

export const me = {
  account_id: 'a1',
  login: 'miller',
  is_admin: false,
  channel: { id: 'c1', handle: 'mill', name: 'The Old Mill' },
};

export function card(id: string, title: string): VideoCard {
  return {
    id,
    title,
    channel: me.channel,
    duration_ms: 65_000,
    published_at: '2030-01-01T00:00:00Z',
    created_at: '2030-01-01T00:00:00Z',
    poster_url: `/media/${id}/poster.jpg`,
    counters: { starts: 3, views: 1_234, engaged_views: 2, watch_ms: 1_000 },
    visibility: 'public',
    upload_state: 'complete',
    playback_state: 'ready',
    version: 1,
  };
}
