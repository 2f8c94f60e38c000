import { afterEach, describe, expect, it, vi } from 'vitest';
import { api } from './client';
import { asProblem, fieldErrors, type Problem } from './problem';

function answer(status: number, body: unknown, headers: Record<string, string> = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const reply = new Response(status === 204 ? null : text, { status, headers });
  return vi.spyOn(globalThis, 'fetch').mockResolvedValue(reply);
}

async function problemOf(call: Promise<unknown>): Promise<Problem> {
  return call.then(
    () => {
      throw new Error('the call succeeded');
    },
    error => asProblem(error),
  );
}

afterEach(() => vi.restoreAllMocks());

describe('api', () => {
  it('asks by query and leaves out what is not given', async () => {
    const fetched = answer(200, { items: [], next_cursor: null });
    await api.search({ q: 'mill & wheel', limit: 24, cursor: null });
    expect(fetched.mock.calls[0]?.[0]).toBe('/api/v1/search?q=mill+%26+wheel&limit=24');
  });

  it('sends JSON and puts ids safely into paths', async () => {
    const fetched = answer(200, {});
    await api.editVideo('a/b', { title: 'New' });
    const [url, init] = fetched.mock.calls[0] ?? [];
    expect(url).toBe('/api/v1/videos/a%2Fb');
    expect(init).toMatchObject({ method: 'PATCH', body: '{"title":"New"}', credentials: 'same-origin' });
    expect(new Headers(init?.headers).get('Content-Type')).toBe('application/json');
  });

  it('returns nothing for 204', async () => {
    answer(204, '');
    await expect(api.signOut()).resolves.toBeUndefined();
  });

  it('throws the problem that the server describes', async () => {
    const body = {
      type: '/problems/invalid',
      title: 'Invalid fields',
      status: 422,
      detail: 'Some fields are not right.',
      errors: [{ field: 'handle', message: 'is too short' }],
    };
    answer(422, body, { 'Content-Type': 'application/problem+json' });
    const problem = await problemOf(api.signUp({ login: 'ab', password: 'x', handle: 'a', name: 'A' }));
    expect(problem).toMatchObject({ slug: 'invalid', status: 422, title: 'Invalid fields', transient: false });
    expect(problem.message).toBe('Some fields are not right.');
    expect(fieldErrors(problem)).toEqual({ handle: 'is too short' });
  });

  it('reads Retry-After', async () => {
    const headers = { 'Content-Type': 'application/problem+json', 'Retry-After': '12' };
    answer(429, { type: '/problems/too-many-attempts', title: 'Too many attempts' }, headers);
    const problem = await problemOf(api.signIn({ login: 'a', password: 'b' }));
    expect(problem).toMatchObject({ slug: 'too-many-attempts', retryAfterSeconds: 12, transient: true });
  });

  it('makes a readable problem of an answer that is none', async () => {
    answer(502, '<html>Bad gateway</html>', { 'Content-Type': 'text/html' });
    const problem = await problemOf(api.instance());
    expect(problem).toMatchObject({ slug: 'status-502', title: 'The server has a problem', transient: true });
  });

  it('tells when there is no answer at all', async () => {
    vi.spyOn(globalThis, 'fetch').mockRejectedValue(new TypeError('Failed to fetch'));
    const problem = await problemOf(api.instance());
    expect(problem).toMatchObject({ slug: 'unreachable', status: 0, transient: true });
  });
});
