import { describe, expect, it } from 'vitest';
import { bars, percentTicks, recountSql, retentionMarks, ticks } from './figures';

const now = Date.parse('2030-01-02T10:20:00Z');
const figures = (hour: string, views: number) => ({ hour, views, starts: views + 1, engaged_views: 0, watch_ms: 0 });

describe('bars', () => {
  it('has a bar for every hour, also for those left out, and ends with the running one', () => {
    const made = bars([figures('2030-01-02T10:00:00Z', 4), figures('2030-01-01T11:00:00Z', 2)], 24, 1, now);
    expect(made).toHaveLength(24);
    expect(made[0]).toEqual({ at: Date.parse('2030-01-01T11:00:00Z'), views: 2, starts: 3 });
    expect(made[23]).toEqual({ at: Date.parse('2030-01-02T10:00:00Z'), views: 4, starts: 5 });
    expect(made.slice(1, 23).every(bar => bar.views === 0)).toBe(true);
  });

  it('adds hours up and leaves out what lies before', () => {
    const hours = [
      figures('2030-01-02T10:00:00Z', 1),
      figures('2030-01-02T09:00:00Z', 2),
      figures('2029-12-01T00:00:00Z', 9),
    ];
    const made = bars(hours, 168, 3, now);
    expect(made).toHaveLength(56);
    expect(made.at(-1)?.views).toBe(3);
    expect(made.reduce((sum, bar) => sum + bar.views, 0)).toBe(3);
  });
});

describe('retentionMarks', () => {
  it('places each point in the middle of its part and speaks percent', () => {
    const points = [
      { watched_ratio: 1.2345, viewers_ratio: 1 },
      { watched_ratio: 0.5, viewers_ratio: 0.25 },
    ];
    expect(retentionMarks({ duration_ms: 10_000, points })).toEqual([
      { at: 2_500, watched: 123.5, viewers: 100 },
      { at: 7_500, watched: 50, viewers: 25 },
    ]);
  });
});

describe('ticks', () => {
  it('marks each day once', () => {
    const marked = ticks(bars([], 168, 3, now), 168);
    expect(new Set(marked.map(at => new Date(at).toDateString())).size).toBe(marked.length);
    expect(marked).toHaveLength(7);
  });

  it('marks every fourth hour of one day', () => {
    expect(ticks(bars([], 24, 1, now), 24)).toHaveLength(6);
  });

  it('draws lines by 25 percent, further apart when much is rewatched', () => {
    expect(percentTicks([{ at: 0, watched: 80, viewers: 60 }])).toEqual([0, 25, 50, 75, 100]);
    expect(percentTicks([{ at: 0, watched: 115, viewers: 100 }])).toEqual([0, 25, 50, 75, 100, 125]);
    expect(percentTicks([{ at: 0, watched: 340, viewers: 100 }])).toEqual([0, 50, 100, 150, 200, 250, 300, 350]);
  });
});

it('writes the statement to recount by', () => {
  expect(recountSql("a'b")).toBe("select count(*) from views where video_id = 'a''b'");
});
