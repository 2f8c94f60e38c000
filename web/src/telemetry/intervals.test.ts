import { describe, expect, it } from 'vitest';
import { viewThresholdMs } from './contract';
import { IntervalTracker } from './intervals';

describe('IntervalTracker', () => {
  it('reports what was rendered, in whole milliseconds that follow on each other', () => {
    const tracker = new IntervalTracker();
    tracker.jump(0);
    tracker.advance(250.4);
    tracker.advance(1499.9);
    expect(tracker.take()).toEqual({ fromMs: 0, toMs: 1499 });
    tracker.advance(2000.2);
    expect(tracker.take()).toEqual({ fromMs: 1499, toMs: 2000 });
  });

  it('splits what is longer than ten seconds', () => {
    const tracker = new IntervalTracker();
    tracker.jump(500);
    expect(tracker.advance(10_499)).toEqual([]);
    expect(tracker.advance(10_750)).toEqual([{ fromMs: 500, toMs: 10_500 }]);
    expect(tracker.advance(31_000)).toEqual([
      { fromMs: 10_500, toMs: 20_500 },
      { fromMs: 20_500, toMs: 30_500 },
    ]);
    expect(tracker.take()).toEqual({ fromMs: 30_500, toMs: 31_000 });
  });

  it('closes an interval of exactly ten seconds and leaves none of no length', () => {
    const tracker = new IntervalTracker();
    tracker.jump(0);
    expect(tracker.advance(10_000)).toEqual([{ fromMs: 0, toMs: 10_000 }]);
    expect(tracker.pendingMs).toBe(0);
  });

  it('does not count what was jumped over, in either direction', () => {
    const tracker = new IntervalTracker();
    tracker.jump(0);
    tracker.advance(2_000);
    expect(tracker.advance(60_000, 1_500)).toEqual([{ fromMs: 0, toMs: 2_000 }]);
    tracker.advance(61_000, 1_500);
    expect(tracker.advance(5_000, 1_500)).toEqual([{ fromMs: 60_000, toMs: 61_000 }]);
    tracker.advance(5_400, 1_500);
    expect(tracker.take()).toEqual({ fromMs: 5_000, toMs: 5_400 });
  });

  it('takes a tiny step back for what it is', () => {
    const tracker = new IntervalTracker();
    tracker.jump(0);
    tracker.advance(1_000);
    expect(tracker.advance(960)).toEqual([]);
    tracker.advance(1_200);
    expect(tracker.take()).toEqual({ fromMs: 0, toMs: 1_200 });
  });

  it('reads positions that are no numbers as the beginning', () => {
    const tracker = new IntervalTracker();
    tracker.jump(Number.NaN);
    expect(tracker.take()).toEqual({ fromMs: 0, toMs: 0 });
  });

  it('covers any path of play and jumps exactly once', () => {
    // A fixed pseudo-random path, so that a failure can be repeated.
    let seed = 7;
    const random = () => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed / 2_147_483_647;
    };
    const tracker = new IntervalTracker();
    let at = 0;
    let played = 0;
    let reported = 0;
    const count = ({ fromMs, toMs }: { fromMs: number; toMs: number }) => {
      expect(toMs - fromMs).toBeLessThanOrEqual(10_000);
      expect(toMs).toBeGreaterThanOrEqual(fromMs);
      reported += toMs - fromMs;
    };
    for (let step = 0; step < 5_000; step += 1) {
      if (random() < 0.02) {
        count(tracker.take());
        at = Math.floor(random() * 600_000);
        tracker.jump(at);
      } else {
        const move = Math.floor(random() * 4_000);
        at += move;
        played += move;
        for (const interval of tracker.advance(at)) count(interval);
      }
    }
    count(tracker.take());
    expect(reported).toBe(played);
  });
});

describe('viewThresholdMs', () => {
  it.each([
    [10_000, 5_000],
    [9_999, 5_000],
    [59_999, 30_000],
    [60_000, 30_000],
    [3_600_000, 30_000],
  ])('is of a video of %d ms: %d ms', (duration, threshold) => {
    expect(viewThresholdMs(duration)).toBe(threshold);
  });
});
