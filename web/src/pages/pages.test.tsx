import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import { card, instance, json, me, problem, showPage } from '../test/render';

const visitor = { 'GET /instance': instance, 'GET /session': () => problem(401, 'not-signed-in', 'Sign in first.') };
const member = { 'GET /instance': instance, 'GET /session': me };
const none = { items: [], next_cursor: null };

describe('home', () => {
  it('shows what is trending and what is new', async () => {
    showPage('/', {
      ...visitor,
      'GET /trending': { items: [card('v1', 'The weir')] },
      'GET /videos': { items: [card('v2', 'The sluice')], next_cursor: null },
    });
    const trending = await screen.findByRole('list', { name: 'Trending videos' });
    expect(within(trending).getByRole('link', { name: 'The weir' })).toHaveAttribute('href', '/watch/v1');
    const newest = screen.getByRole('list', { name: 'Newest videos' });
    expect(within(newest).getByText('1:05')).toBeInTheDocument();
    expect(within(newest).getByText(/1\.2K views/)).toBeInTheDocument();
  });

  it('invites to upload when there is nothing', async () => {
    showPage('/', { ...member, 'GET /trending': { items: [] }, 'GET /videos': none });
    expect(await screen.findByRole('link', { name: /upload the first video/i })).toHaveAttribute('href', '/upload');
  });

  it('tells what is wrong and tries again', async () => {
    let down = true;
    showPage('/', {
      ...visitor,
      'GET /trending': { items: [] },
      'GET /videos': () => (down ? problem(400, 'invalid', 'The cursor is not valid.') : json(none)),
    });
    expect(await screen.findByText('The cursor is not valid.')).toBeInTheDocument();
    down = false;
    await userEvent.click(screen.getByRole('button', { name: 'Try again' }));
    expect(await screen.findByText(/the water is missing/)).toBeInTheDocument();
  });
});

describe('search', () => {
  it('is reached by the slash key and shows what is found', async () => {
    const { router } = showPage('/', {
      ...visitor,
      'GET /trending': { items: [] },
      'GET /videos': { items: [card('v1', 'The weir')], next_cursor: null },
      'GET /search': { items: [card('v3', 'A wheel')], next_cursor: null, total: 1 },
    });
    await screen.findByRole('link', { name: 'The weir' });
    await userEvent.keyboard('/');
    expect(screen.getByRole('textbox', { name: 'Search videos' })).toHaveFocus();
    await userEvent.keyboard('mill wheel{Enter}');
    expect(await screen.findByRole('link', { name: 'A wheel' })).toBeInTheDocument();
    expect(router.state.location.search).toBe('?q=mill+wheel');
    expect(screen.getByText('1 video')).toBeInTheDocument();
  });
});

describe('sign-in', () => {
  it('sends visitors of the studio to sign in and back again', async () => {
    const { asked, router } = showPage('/studio', {
      ...visitor,
      'POST /session': me,
      'GET /studio/videos': none,
    });
    await userEvent.type(await screen.findByLabelText(/Login/), 'Miller');
    await userEvent.type(screen.getByLabelText(/^Password/), 'grain and water{Enter}');
    expect(await screen.findByText('You have no videos yet')).toBeInTheDocument();
    expect(router.state.location.pathname).toBe('/studio');
    expect(asked.find(({ method }) => method === 'POST')?.body).toEqual({
      login: 'miller',
      password: 'grain and water',
    });
  });

  it('says when the credentials are wrong', async () => {
    showPage('/sign-in', {
      ...visitor,
      'POST /session': () => problem(401, 'wrong-credentials', 'The login or the password is wrong.'),
    });
    await userEvent.type(await screen.findByLabelText(/Login/), 'miller');
    await userEvent.type(screen.getByLabelText(/^Password/), 'wrong{Enter}');
    expect(await screen.findByRole('alert')).toHaveTextContent('The login or the password is wrong.');
  });
});

describe('sign-up', () => {
  const fill = async () => {
    await userEvent.type(await screen.findByLabelText(/^Login/), 'miller');
    await userEvent.type(screen.getByLabelText(/^Password/), 'grain and water');
    await userEvent.type(screen.getByLabelText(/^Channel name/), 'Old Mill & Co');
  };

  it('proposes a handle and shows the server’s objections at their fields', async () => {
    const { asked } = showPage('/sign-up', {
      ...visitor,
      'POST /accounts': () =>
        problem(409, 'taken', 'That handle is taken.', { errors: [{ field: 'handle', message: 'is taken' }] }),
    });
    await fill();
    expect(screen.getByLabelText(/^Handle/)).toHaveValue('old-mill-co');
    await userEvent.click(screen.getByRole('button', { name: 'Create account' }));
    expect(await screen.findByText('is taken')).toBeInTheDocument();
    expect(screen.getByLabelText(/^Handle/)).toBeInvalid();
    expect(asked.find(({ method }) => method === 'POST')?.body).toEqual({
      login: 'miller',
      password: 'grain and water',
      handle: 'old-mill-co',
      name: 'Old Mill & Co',
    });
  });

  it('asks for an invitation where one is needed, and takes it from the address', async () => {
    showPage('/sign-up?invitation=inv-7', { ...visitor, 'GET /instance': { ...instance, sign_up: 'invitation' } });
    expect(await screen.findByLabelText(/^Invitation/)).toHaveValue('inv-7');
  });

  it('says when sign-up is closed', async () => {
    showPage('/sign-up', { ...visitor, 'GET /instance': { ...instance, sign_up: 'closed' } });
    expect(await screen.findByText('Sign-up is closed here')).toBeInTheDocument();
    expect(screen.queryByLabelText(/^Login/)).not.toBeInTheDocument();
  });
});

describe('account', () => {
  it('shows a new token once and lists it', async () => {
    const items: object[] = [];
    showPage('/account', {
      ...member,
      'GET /tokens': () => json({ items }),
      'POST /tokens': body => {
        const token = { id: 't1', created_at: '2030-01-01T00:00:00Z', ...(body as object) };
        items.push({ ...token, expires_at: null });
        return json({ ...token, token: 'mlr_secret' }, 201);
      },
    });
    await userEvent.type(await screen.findByLabelText('What the token is for'), 'Backups{Enter}');
    expect(await screen.findByText('mlr_secret')).toBeInTheDocument();
    expect(await screen.findByRole('button', { name: 'Delete the token Backups' })).toBeInTheDocument();
  });
});

describe('what is not there', () => {
  it('is told kindly, for a page and for a video', async () => {
    showPage('/no/such/page', visitor);
    expect(await screen.findByText('There is nothing here')).toBeInTheDocument();
  });

  it('makes no difference between a private and an unknown video', async () => {
    showPage('/watch/v9', visitor);
    expect(await screen.findByText('This video is not here')).toBeInTheDocument();
    await waitFor(() => expect(document.title).toContain('not here'));
  });
});
