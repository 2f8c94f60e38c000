import { describe, expect, it } from 'vitest';
import { titleOf, uploadProblem, uploads } from './store';

describe('titleOf', () => {
  it.each([
    ['2024-05_old-mill.mp4', '2024 05 old mill'],
    ['harvest.final.webm', 'Harvest.final'],
    ['.mp4', 'Untitled'],
    ['clip', 'Clip'],
  ])('makes of %j %j', (name, title) => expect(titleOf(name)).toBe(title));

  it('keeps to the server’s limit', () => {
    expect(titleOf(`${'x'.repeat(300)}.mp4`)).toHaveLength(120);
  });
});

describe('uploads', () => {
  it('keeps drafts, what is said of them, and tells its listeners', async () => {
    let told = 0;
    const stop = uploads.subscribe(() => {
      told += 1;
    });
    const key = uploads.add(new File(['abc'], 'weir.mp4', { type: 'video/mp4' }));
    uploads.describe(key, { visibility: 'private', tags: ['water'] });
    expect(uploads.items()).toMatchObject([
      { key, phase: 'draft', details: { title: 'Weir', visibility: 'private', tags: ['water'] } },
    ]);
    await uploads.remove(key);
    expect(uploads.items()).toEqual([]);
    expect(told).toBe(3);
    stop();
  });
});

describe('uploadProblem', () => {
  it('is readable when the connection was cut', () => {
    expect(uploadProblem(new Error('tus: unexpected'))).toMatchObject({ status: 0, title: 'The upload was cut' });
  });
});
