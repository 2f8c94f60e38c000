import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { TelemetryEvent } from './contract';
import { SessionRecorder } from './recorder';
import { EPOCH_MS, fakeClock, startFakeTime, summary, watched } from './testing';

let events: TelemetryEvent[];
let prompt: TelemetryEvent[];

function recorder(durationMs: number | null = 600_000, droppedFrames?: () => number | null): SessionRecorder {
  return new SessionRecorder({ clock: fakeClock, durationMs, heartbeatMs: 10_000, droppedFrames }, (event, now) => {
    events.push(event);
    if (now) prompt.push(event);
  });
}

/** Plays from one position to another with a sample every quarter of a second; returns where it stopped. */
function play(session: SessionRecorder, fromMs: number, toMs: number, speed = 1): number {
  for (let at = fromMs; at < toMs; ) {
    const step = Math.min(250 * speed, toMs - at);
    vi.advanceTimersByTime(step / speed);
    at += step;
    session.tick(at);
  }
  return toMs;
}

beforeEach(() => {
  startFakeTime();
  events = [];
  prompt = [];
  return () => vi.useRealTimers();
});

describe('the beginning', () => {
  it('is an attempt and a start with the time between them', () => {
    const session = recorder();
    session.requested();
    session.renditionChanged('360p', 640.4);
    vi.advanceTimersByTime(730);
    session.firstFrame(0);
    session.firstFrame(0);
    expect(events).toEqual([
      { seq: 0, kind: 'attempt', client_ts: EPOCH_MS * 1000, speed: 1, rendition: undefined },
      {
        seq: 1,
        kind: 'start',
        client_ts: (EPOCH_MS + 730) * 1000,
        speed: 1,
        rendition: '360p',
        startup_ms: 730,
        bitrate_kbps: 640,
      },
    ]);
  });

  it('reports nothing that happens before the first frame but an error', () => {
    const session = recorder();
    session.seeking(3_000);
    session.seeked(3_000);
    session.tick(3_000);
    session.stalled();
    session.paused(0);
    session.ended(0);
    session.hidden(0);
    expect(events).toEqual([]);
    session.requested();
    session.failed('manifestLoadError');
    expect(summary(events)).toEqual(['attempt', 'error']);
    expect(events[1]?.error_code).toBe('manifestLoadError');
  });
});

describe('playing', () => {
  it('sends a heartbeat for every ten seconds of media', () => {
    const session = recorder();
    session.firstFrame(0);
    play(session, 0, 25_000);
    expect(summary(events)).toEqual(['attempt', 'start', 'heartbeat 0-10000', 'heartbeat 10000-20000']);
    session.paused(25_100);
    expect(summary(events).at(-1)).toBe('pause 20000-25100');
    expect(watched(events)).toBe(25_100);
    expect(session.watchedMs).toBe(25_100);
  });

  it('sends the heartbeat that makes a view at once: thirty seconds', () => {
    const session = recorder(600_000);
    session.firstFrame(4_000);
    play(session, 4_000, 34_000);
    expect(watched(events)).toBe(30_000);
    expect(events.at(-1)?.client_ts).toBe((EPOCH_MS + 30_000) * 1000);
  });

  it('sends the heartbeat that makes a view at once: half of a short video', () => {
    const session = recorder(12_001);
    session.firstFrame(0);
    play(session, 0, 6_250);
    expect(summary(events)).toEqual(['attempt', 'start', 'heartbeat 0-6250']);
    play(session, 6_250, 12_001);
    expect(summary(events)).toHaveLength(3);
    session.ended(12_001);
    expect(summary(events).at(-1)).toBe('end 6250-12001');
  });

  it('counts the threshold over rewatched parts', () => {
    const session = recorder(40_000);
    session.firstFrame(0);
    play(session, 0, 8_000);
    session.seeking(0);
    session.seeked(0);
    play(session, 0, 8_000);
    session.seeking(0);
    session.seeked(0);
    play(session, 0, 4_000);
    expect(summary(events)).toEqual(['attempt', 'start', 'seek 0-8000', 'seek 0-8000', 'heartbeat 0-4000']);
    expect(watched(events)).toBe(20_000);
  });

  it('sends a heartbeat after ten seconds of the clock when playing slowly, and one speed per interval', () => {
    const session = recorder();
    session.firstFrame(0);
    session.speedChanged(0.5, 0);
    play(session, 0, 6_000, 0.5);
    expect(summary(events)).toEqual(['attempt', 'start', 'heartbeat 0-5000']);
    session.speedChanged(2, 6_000);
    play(session, 6_000, 30_000, 2);
    const beats = events.filter(event => event.kind === 'heartbeat');
    expect(beats.map(({ media_from_ms, media_to_ms, speed }) => [media_from_ms, media_to_ms, speed])).toEqual([
      [0, 5_000, 0.5],
      [5_000, 6_000, 0.5],
      [6_000, 16_000, 2],
      [16_000, 26_000, 2],
      [26_000, 30_000, 2],
    ]);
  });

  it('keeps what a page in the background played while its timers slept', () => {
    const session = recorder();
    session.firstFrame(0);
    play(session, 0, 1_000);
    vi.advanceTimersByTime(34_000);
    session.tick(35_000);
    expect(summary(events).slice(2)).toEqual([
      'heartbeat 0-10000',
      'heartbeat 10000-20000',
      'heartbeat 20000-30000',
      'heartbeat 30000-35000',
    ]);
  });

  it('does not count a leap that the clock does not allow', () => {
    const session = recorder();
    session.firstFrame(0);
    play(session, 0, 2_000);
    vi.advanceTimersByTime(250);
    session.tick(90_000);
    play(session, 90_000, 91_000);
    session.paused(91_000);
    expect(summary(events).slice(2)).toEqual(['heartbeat 0-2000', 'pause 90000-91000']);
  });

  it('numbers events without gaps', () => {
    const session = recorder();
    session.firstFrame(0);
    play(session, 0, 45_000);
    session.renditionChanged('720p');
    session.paused(45_000);
    session.hidden(45_000);
    expect(events.map(event => event.seq)).toEqual(events.map((_, n) => n));
  });

  it('tells dropped frames since the last report', () => {
    let dropped = 0;
    const session = recorder(600_000, () => dropped);
    session.firstFrame(0);
    dropped = 4;
    play(session, 0, 10_000);
    dropped = 7;
    play(session, 10_000, 20_000);
    const beats = events.filter(event => event.kind === 'heartbeat');
    expect(beats.map(event => event.dropped_frames)).toEqual([4, 3]);
  });
});

describe('pausing, seeking and ending', () => {
  it('does not count the time of a pause', () => {
    const session = recorder();
    session.firstFrame(0);
    play(session, 0, 3_000);
    session.paused(3_000);
    vi.advanceTimersByTime(3_600_000);
    session.tick(3_000);
    session.playing(3_000);
    play(session, 3_000, 5_000);
    session.paused(5_000);
    session.paused(5_000);
    expect(summary(events).slice(2)).toEqual(['pause 0-3000', 'pause 3000-5000']);
  });

  it('ends the interval where a seek begins', () => {
    const session = recorder();
    session.firstFrame(0);
    play(session, 0, 4_000);
    session.seeking(120_000);
    session.tick(120_000);
    session.seeked(120_000);
    play(session, 120_000, 122_000);
    session.paused(122_000);
    expect(summary(events).slice(2)).toEqual(['seek 0-4000', 'pause 120000-122000']);
  });

  it('reports dragging the slider as one seek', () => {
    const session = recorder();
    session.firstFrame(0);
    play(session, 0, 4_000);
    for (const to of [10_000, 20_000, 30_000]) session.seeking(to);
    session.seeked(30_000);
    session.seeking(40_000);
    session.seeked(40_000);
    play(session, 40_000, 41_000);
    session.seeking(5_000);
    expect(summary(events).slice(2)).toEqual(['seek 0-4000', 'seek 40000-41000']);
  });

  it('ends once, and counts what is watched again', () => {
    const session = recorder(8_000);
    session.firstFrame(0);
    play(session, 0, 7_900);
    session.ended(8_000);
    session.ended(8_000);
    session.hidden(8_000);
    session.seeking(0);
    session.seeked(0);
    session.playing(0);
    play(session, 0, 7_900);
    session.ended(8_000);
    expect(summary(events)).toEqual([
      'attempt',
      'start',
      'heartbeat 0-4000',
      'end 4000-8000',
      'seek 8000-8000',
      'end 0-8000',
    ]);
    expect(watched(events)).toBe(16_000);
  });

  it('reports a hidden page once, and what plays on behind it', () => {
    const session = recorder();
    session.firstFrame(0);
    play(session, 0, 2_000);
    session.hidden(2_100);
    session.hidden(2_100);
    play(session, 2_100, 12_100);
    session.hidden(12_400);
    expect(summary(events).slice(2)).toEqual(['hidden 0-2100', 'heartbeat 2100-12100', 'hidden 12100-12400']);
  });
});

describe('stalls and renditions', () => {
  it('measures a stall', () => {
    const session = recorder();
    session.firstFrame(0);
    play(session, 0, 2_000);
    session.stalled();
    session.stalled();
    vi.advanceTimersByTime(1_300);
    session.tick(2_000);
    session.playing(2_000);
    play(session, 2_000, 3_000);
    session.paused(3_000);
    expect(summary(events).slice(2)).toEqual(['stall_begin', 'stall_end', 'pause 0-3000']);
    expect(events[3]?.stall_ms).toBe(1_300);
  });

  it('ends a stall when the playhead moves, when one seeks and when one gives up', () => {
    const session = recorder();
    session.firstFrame(0);
    session.stalled();
    vi.advanceTimersByTime(500);
    session.tick(250);
    session.stalled();
    vi.advanceTimersByTime(400);
    session.seeking(9_000);
    session.stalled();
    session.seeked(9_000);
    session.stalled();
    vi.advanceTimersByTime(300);
    session.hidden(9_000);
    expect(events.filter(event => event.kind === 'stall_end').map(event => event.stall_ms)).toEqual([500, 400, 300]);
    expect(events.filter(event => event.kind === 'stall_begin')).toHaveLength(3);
  });

  it('tells each change of the rendition once and names it from then on', () => {
    const session = recorder();
    session.renditionChanged('360p', 600);
    session.firstFrame(0);
    session.renditionChanged('360p', 600);
    session.renditionChanged('720p', 2_400);
    play(session, 0, 10_000);
    expect(summary(events)).toEqual(['attempt', 'start', 'rendition_change', 'heartbeat 0-10000']);
    expect(events[2]).toMatchObject({ rendition: '720p', bitrate_kbps: 2_400 });
    expect(events[3]).toMatchObject({ rendition: '720p', bitrate_kbps: 2_400 });
  });

  it('asks to send reports at once and lets the rest wait', () => {
    const session = recorder();
    session.firstFrame(0);
    session.renditionChanged('720p');
    play(session, 0, 10_000);
    session.stalled();
    expect(prompt.map(event => event.kind)).toEqual(['start', 'heartbeat']);
  });
});
