// Takes a picture of a page: node screenshot.mjs URL OUTPUT.png [WIDTH] [HEIGHT]
// MILLRACE_THEME=dark|light chooses the theme; MILLRACE_LOGIN and MILLRACE_PASSWORD sign in first;
// MILLRACE_FULL_PAGE=1 takes the whole page instead of the first screen.
import { launch } from './browser.mjs';

const [url, output, width = '1280', height = '800'] = process.argv.slice(2);
if (!url || !output) {
  process.stderr.write('usage: node screenshot.mjs URL OUTPUT.png [WIDTH] [HEIGHT]\n');
  process.exit(2);
}

const { MILLRACE_LOGIN: login, MILLRACE_PASSWORD: password, MILLRACE_THEME: theme } = process.env;
const browser = await launch();
try {
  const page = await browser.newPage({
    viewport: { width: Number(width), height: Number(height) },
    colorScheme: theme === 'dark' ? 'dark' : 'light',
    reducedMotion: 'reduce',
  });
  if (login && password) {
    const reply = await page.request.post(new URL('/api/v1/session', url).href, { data: { login, password } });
    if (!reply.ok()) throw new Error(`signing in failed: ${reply.status()} ${await reply.text()}`);
  }
  await page.goto(url, { waitUntil: 'load' });
  await page.locator('main h1, main h2, main h3').first().waitFor();
  // Pictures and the first frame of a video; a page with a live event stream never becomes idle.
  await page.waitForFunction(() => {
    const pictures = [...document.images].filter(image => {
      const { top, left } = image.getBoundingClientRect();
      return top < window.innerHeight && left < window.innerWidth;
    });
    const videos = [...document.querySelectorAll('video')];
    const loading = document.querySelector('main [role="status"] .mantine-Skeleton-root');
    return !loading && pictures.every(image => image.complete) && videos.every(video => video.currentTime > 1);
  });
  await page.screenshot({ path: output, fullPage: process.env.MILLRACE_FULL_PAGE === '1' });
} finally {
  await browser.close();
}
