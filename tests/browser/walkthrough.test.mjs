// A person's way through Millrace in a real browser: sign in, upload, wait, watch to the end, see the
// view counted, find the video again; and the same app by keyboard and on a phone.
//
// MILLRACE_URL names the running server and MILLRACE_CLIP a video file of about ten seconds.
// MILLRACE_LOGIN and MILLRACE_PASSWORD name an account; without them the test signs up.
// MILLRACE_ARTIFACTS names a folder for pictures of failures.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { access, stat } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from './browser.mjs';

const base = required('MILLRACE_URL');
const clip = required('MILLRACE_CLIP');
const given = process.env.MILLRACE_LOGIN !== undefined;
const mark = randomBytes(4).toString('hex');
const login = process.env.MILLRACE_LOGIN ?? `walker-${mark}`;
const password = process.env.MILLRACE_PASSWORD ?? `walks-${mark}-far`;
// A word that no other video has, so that the search finds this one alone.
const title = `Walkthrough zq${mark}`;

const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const STEP_MS = 20_000;
const TRANSCODE_MS = Number(process.env.MILLRACE_TRANSCODE_MS ?? 180_000);

let browser;
let context;
let page;
let videoId;
/** What the console and the pages complained of. */
const complaints = [];

before(async () => {
  await access(clip);
  browser = await launch();
  context = await browser.newContext({ viewport: DESKTOP });
  page = await open(context);
});

after(async () => {
  await browser?.close();
});

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

/** A page whose complaints are gathered. */
async function open(where) {
  const opened = await where.newPage();
  opened.setDefaultTimeout(STEP_MS);
  opened.on('console', message => {
    if (!['error', 'warning'].includes(message.type())) return;
    const { url } = message.location();
    // Asking who one is, signed out, is answered 401, which the browser reports by itself.
    if (url.endsWith('/api/v1/session') && message.text().includes('401')) return;
    complaints.push(`${message.type()}: ${message.text()} (${url})`);
  });
  opened.on('pageerror', error => complaints.push(`uncaught: ${error.stack ?? error.message}`));
  return opened;
}

let failed = false;

/** Runs a step. Should it fail, a picture of the page is kept, and the steps that build on it don't run. */
function step(name, run) {
  test(name, async t => {
    if (failed) return t.skip('an earlier step failed');
    try {
      await run();
    } catch (error) {
      failed = true;
      if (complaints.length > 0) t.diagnostic(complaints.join('\n'));
      if (process.env.MILLRACE_ARTIFACTS) {
        const file = path.join(process.env.MILLRACE_ARTIFACTS, `${name.replace(/\W+/g, '-')}.png`);
        await page.screenshot({ path: file, fullPage: true }).catch(() => undefined);
      }
      throw error;
    }
  });
}

const url = where => new URL(where, base).href;
const views = () => page.locator('[data-counter="views"]').first();

step('signs up or signs in', async () => {
  await page.goto(url('/upload'));
  // Uploading needs an account, so one is sent to sign in first.
  await page.waitForURL('**/sign-in');
  if (!given) {
    await page.getByRole('link', { name: 'Sign up' }).click();
    // The sign-in form has fields of the same names and stays until the next page is loaded.
    await page.getByRole('heading', { name: 'Sign up' }).waitFor();
    await page.getByLabel('Login').fill(login);
    await page.getByLabel('Password', { exact: false }).first().fill(password);
    await page.getByLabel('Channel name').fill(`Walker ${mark}`);
    assert.equal(await page.getByLabel('Handle').inputValue(), `walker-${mark}`);
    await page.getByRole('button', { name: 'Create account' }).click();
  } else {
    await page.getByLabel('Login').fill(login);
    await page.getByLabel('Password', { exact: false }).first().fill(password);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  }
  await page.waitForURL('**/upload');
});

step('uploads a video and waits until it is ready', async () => {
  await page.locator('input[type="file"][multiple]').setInputFiles(clip);
  await page.getByLabel('Title').fill(title);
  await page.getByLabel('Description').fill('Made by the walkthrough.\n\n0:03 the middle');
  await page.getByRole('combobox', { name: 'Tags' }).fill('walkthrough,');
  const created = page.waitForResponse(reply => reply.request().method() === 'POST' && reply.url() === url('/uploads'));
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  videoId = (await created).headers()['millrace-video-id'];
  assert.match(videoId ?? '', /^[0-9a-f-]{36}$/);

  const card = page.locator('[data-upload="sent"]');
  await card.waitFor();
  await card.locator('[data-status="ready"], [data-status="failed"]').waitFor({ timeout: TRANSCODE_MS });
  const status = await card.locator('[data-status]').getAttribute('data-status');
  assert.equal(status, 'ready', await card.innerText());
});

step('watches it to the end and sees the view counted live', async () => {
  await page.getByRole('link', { name: 'Watch', exact: true }).click();
  await page.waitForURL(`**/watch/${videoId}`);
  await page.getByRole('heading', { level: 1, name: title }).waitFor();
  assert.equal(await views().getAttribute('data-value'), '0');

  await page.waitForFunction(() => (document.querySelector('video')?.currentTime ?? 0) > 0.5);
  const began = await page.evaluate(() => {
    const video = document.querySelector('video');
    return { bufferedFrom: video.buffered.start(0), duration: video.duration, height: video.videoHeight };
  });
  assert.equal(began.bufferedFrom, 0, 'the buffered range starts at 0');
  assert.ok(began.height > 0, 'a picture is decoded');
  assert.ok(began.duration > 4 && began.duration < 60, `duration ${began.duration}`);

  // The count comes by itself, by the event stream, when half of the clip was watched: no reload.
  await page.waitForFunction(() => document.querySelector('[data-counter="views"]')?.dataset.value === '1', null, {
    timeout: began.duration * 1000 + STEP_MS,
  });
  await page.waitForFunction(() => document.querySelector('video')?.ended === true, null, {
    timeout: began.duration * 1000 + STEP_MS,
  });
  assert.equal(await page.locator('[data-player-error]').count(), 0, 'no player error');
  const ended = await page.evaluate(() => {
    const video = document.querySelector('video');
    return { error: video.error?.message ?? null, ranges: video.buffered.length, time: video.currentTime };
  });
  assert.equal(ended.error, null);
  assert.equal(ended.ranges, 1, 'the media has no gap');
  assert.ok(ended.time >= began.duration - 0.1);
  await page.getByRole('button', { name: 'Watch again' }).first().waitFor();
});

step('obeys the keyboard in the player', async () => {
  const state = () =>
    page.evaluate(() => {
      const { currentTime, paused, muted } = document.querySelector('video');
      return { currentTime, paused, muted };
    });
  await page.keyboard.press('j');
  const back = await state();
  assert.ok(back.currentTime < 4, `j goes ten seconds back, to ${back.currentTime}`);
  await page.keyboard.press('k');
  await page.waitForFunction(() => document.querySelector('video').paused === false);
  await page.keyboard.press(' ');
  await page.waitForFunction(() => document.querySelector('video').paused === true);
  const before = await state();
  await page.keyboard.press('ArrowRight');
  await page.waitForFunction(at => document.querySelector('video').currentTime > at + 1, before.currentTime);
  await page.keyboard.press('m');
  assert.notEqual((await state()).muted, before.muted);
  await page.keyboard.press('m');
  // Every control is reached by the tab key.
  await page.getByRole('slider', { name: 'Seek' }).focus();
  const reached = [];
  for (let press = 0; press < 6; press += 1) {
    await page.keyboard.press('Tab');
    reached.push(await page.evaluate(() => document.activeElement?.getAttribute('aria-label')));
  }
  for (const name of ['Mute', 'Volume', 'Quality and speed', 'Full screen']) assert.ok(reached.includes(name), `${name} in ${reached}`);
  // The times of a description move the player.
  await page.getByRole('button', { name: '0:03' }).click();
  await page.waitForFunction(() => {
    const { currentTime } = document.querySelector('video');
    return currentTime >= 3 && currentTime < 5;
  });
});

step('finds it by search, from the keyboard', async () => {
  await page.goto(url('/'));
  await page.getByRole('heading', { name: 'Newest' }).waitFor();
  await page.locator('body').click({ position: { x: 2, y: 300 } });
  await page.keyboard.press('/');
  await page.keyboard.type(`zq${mark}`);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/search?*');
  const results = page.getByRole('list', { name: 'Search results' });
  await results.getByRole('link', { name: title }).waitFor();
  assert.equal(await results.getByRole('listitem').count(), 1);
});

step('shows its figures in the studio and edits it', async () => {
  await page.goto(url('/studio'));
  const row = page.locator(`[data-video="${videoId}"]`);
  await row.locator('[data-status="ready"]').waitFor();
  await row.getByRole('button', { name: /^Actions for/ }).click();
  await page.getByRole('menuitem', { name: 'Edit' }).click();
  const dialog = page.getByRole('dialog', { name: 'Edit video' });
  await dialog.getByLabel('Title').fill(`${title} edited`);
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.waitFor({ state: 'hidden' });
  await row.getByRole('link', { name: `${title} edited` }).first().click();
  await page.waitForURL(`**/studio/${videoId}`);
  await page.getByRole('heading', { name: 'Views', exact: true }).waitFor();
  await page.waitForFunction(() => document.querySelector('[data-counter="views"] dd')?.textContent === '1');
  await page.getByText(`select count(*) from views where video_id = '${videoId}'`).waitFor();
});

step('fits a phone without scrolling sideways', async () => {
  await page.setViewportSize(PHONE);
  const pages = [
    ['/', page.getByRole('list', { name: 'Newest videos' }).getByRole('link').first()],
    [`/watch/${videoId}`, page.getByRole('heading', { level: 1, name: title })],
    ['/upload', page.getByRole('heading', { name: 'Drop videos here' })],
    ['/studio', page.locator(`[data-video="${videoId}"]`)],
    [`/studio/${videoId}`, page.getByRole('heading', { name: 'Count it yourself' })],
    ['/account', page.getByRole('heading', { name: 'API tokens' })],
    [`/search?q=zq${mark}`, page.getByRole('list', { name: 'Search results' }).getByRole('link').first()],
  ];
  for (const [where, content] of pages) {
    await page.goto(url(where));
    await content.waitFor();
    const { needed, screen } = await page.evaluate(() => ({
      needed: document.documentElement.scrollWidth,
      screen: document.documentElement.clientWidth,
    }));
    assert.ok(needed <= screen, `${where}: ${needed} px on a screen of ${screen} px`);
  }
  await page.setViewportSize(DESKTOP);
});

step('keeps a private video from strangers', async () => {
  const private_ = await page.request.patch(url(`/api/v1/videos/${videoId}`), {
    data: { visibility: 'private' },
    headers: { Origin: new URL(base).origin },
  });
  assert.equal(private_.status(), 200);
  const strangers = await browser.newContext({ viewport: DESKTOP });
  const stranger = await strangers.newPage();
  await stranger.goto(url(`/watch/${videoId}`));
  await stranger.getByRole('heading', { name: 'This video is not here' }).waitFor({ timeout: STEP_MS });
  await strangers.close();
});

step('signs in by keyboard alone', async () => {
  const fresh = await browser.newContext({ viewport: DESKTOP });
  const keys = await open(fresh);
  await keys.goto(url('/'));
  await keys.getByRole('banner').waitFor();
  await keys.getByRole('link', { name: 'Sign in' }).first().waitFor();
  await keys.keyboard.press('Tab');
  assert.equal(await keys.evaluate(() => document.activeElement?.textContent), 'Skip to content');
  for (let press = 0; press < 8; press += 1) {
    await keys.keyboard.press('Tab');
    if ((await keys.evaluate(() => document.activeElement?.textContent)) === 'Sign in') break;
  }
  await keys.keyboard.press('Enter');
  await keys.waitForURL('**/sign-in');
  await keys.waitForFunction(() => document.activeElement?.getAttribute('name') === 'login');
  await keys.keyboard.type(login);
  await keys.keyboard.press('Tab');
  await keys.keyboard.type(password);
  await keys.keyboard.press('Enter');
  await keys.getByRole('button', { name: /^Account of/ }).waitFor();
  await fresh.close();
});

step('deletes the video after asking', async () => {
  await page.goto(url(`/studio/${videoId}`));
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
  await page.waitForURL('**/studio');
  await page.getByText('Deleted').first().waitFor();
  assert.equal(await page.locator(`[data-video="${videoId}"]`).count(), 0);
  const reply = await page.request.get(url(`/api/v1/videos/${videoId}`));
  assert.equal(reply.status(), 404);
});

step('goes on with an upload after the page was reloaded', async () => {
  await page.goto(url('/upload'));
  await page.getByRole('heading', { name: 'Drop videos here' }).waitFor();
  // Slow enough to be interrupted halfway.
  const { size } = await stat(clip);
  const network = await context.newCDPSession(page);
  await network.send('Network.enable');
  const slow = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: Math.ceil(size / 8) };
  await network.send('Network.emulateNetworkConditions', slow);
  await page.locator('input[type="file"][multiple]').setInputFiles(clip);
  const created = page.waitForResponse(reply => reply.request().method() === 'POST' && reply.url() === url('/uploads'));
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  const { location } = (await created).headers();
  const card = page.locator('[data-upload]').first();
  await card.getByText(/^[1-9]\d? %/).waitFor();
  await page.reload();

  await network.send('Network.emulateNetworkConditions', { ...slow, uploadThroughput: -1 });
  const posts = [];
  page.on('request', request => request.method() === 'POST' && posts.push(new URL(request.url()).pathname));
  const id = location.split('/').pop();
  await page.locator(`[data-unfinished="${id}"]`).locator('input[type="file"]').setInputFiles(clip);
  await page.locator('[data-upload="sent"]').waitFor();
  assert.ok(!posts.includes('/uploads'), 'the same upload went on');
  await page.locator('[data-upload="sent"] [data-status="ready"]').waitFor({ timeout: TRANSCODE_MS });
  const link = await page.getByRole('link', { name: 'Watch', exact: true }).getAttribute('href');
  const removed = await page.request.delete(url(`/api/v1/videos/${link.split('/').pop()}`), {
    headers: { Origin: new URL(base).origin },
  });
  assert.equal(removed.status(), 204);
});

step('met no error on the way', async () => {
  assert.deepEqual(complaints, []);
});
