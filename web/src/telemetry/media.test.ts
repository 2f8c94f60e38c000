import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { TelemetryBatch, TelemetryEvent } from './contract';
import type { DeliveryEnvironment } from './delivery';
import { startTelemetry, type Telemetry } from './index';
import { fakeClock, startFakeTime, summary } from './testing';

/** A media element whose time runs with the fake clock. */
class FakeVideo {
  readonly element = document.createElement('video');
  time = 0;
  paused = true;
  ended = false;
  seeking = false;
  rate = 1;

  constructor() {
    const properties = {
      currentTime: () => this.time,
      paused: () => this.paused,
      ended: () => this.ended,
      seeking: () => this.seeking,
      playbackRate: () => this.rate,
    };
    for (const [name, get] of Object.entries(properties)) Object.defineProperty(this.element, name, { get });
  }

  fire(...names: string[]): void {
    for (const name of names) this.element.dispatchEvent(new Event(name));
  }

  play(): void {
    this.paused = false;
    this.ended = false;
    this.fire('play', 'playing');
  }

  pause(): void {
    this.paused = true;
    this.fire('pause');
  }

  async run(seconds: number): Promise<void> {
    for (let quarters = seconds * 4; quarters > 0; quarters -= 1) {
      this.time += 0.25 * this.rate;
      await vi.advanceTimersByTimeAsync(250);
    }
  }

  seek(to: number): void {
    this.seeking = true;
    this.time = to;
    this.fire('seeking');
    this.seeking = false;
    this.fire('seeked', 'playing');
  }

  end(): void {
    this.ended = true;
    this.paused = true;
    this.fire('timeupdate', 'pause', 'ended');
  }
}

let video: FakeVideo;
let received: Map<number, TelemetryEvent>;
let beacons: TelemetryBatch[];
let telemetry: Telemetry;

const all = () => [...received.values()].sort((a, b) => a.seq - b.seq);
const take = (text: string) => {
  const batch = JSON.parse(text) as TelemetryBatch;
  for (const event of batch.events) received.set(event.seq, event);
  return batch;
};

let sessions = 0;

beforeEach(() => {
  startFakeTime();
  sessions += 1;
  video = new FakeVideo();
  received = new Map();
  beacons = [];
  const environment: DeliveryEnvironment = {
    clock: fakeClock,
    random: () => 0,
    storage: null,
    sendBeacon: (_, body) => beacons.push(take(body)) > 0,
    fetch: async (_, init) => {
      take(String(init?.body));
      return new Response('{}', { status: 202 });
    },
  };
  telemetry = startTelemetry(video.element, {
    url: '/api/v1/telemetry',
    sessionId: `s${sessions}`,
    videoId: 'v',
    grant: 'g',
    durationMs: 12_000,
    environment,
  });
  return () => {
    telemetry.stop();
    vi.useRealTimers();
  };
});

describe('startTelemetry', () => {
  it('follows a whole watch with a pause, a seek back and the end', async () => {
    video.play();
    await video.run(4);
    video.pause();
    await vi.advanceTimersByTimeAsync(60_000);
    video.play();
    await video.run(3);
    video.seek(2);
    await video.run(10);
    video.end();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(summary(all())).toEqual([
      'attempt',
      'start',
      'pause 0-4000',
      'heartbeat 4000-6000',
      'seek 6000-7000',
      'heartbeat 2000-12000',
      'end 12000-12000',
    ]);
  });

  it('speaks by beacon when the page is hidden, and once when it is left', async () => {
    video.play();
    await video.run(2);
    const visibility = vi.spyOn(document, 'visibilityState', 'get').mockReturnValue('hidden');
    document.dispatchEvent(new Event('visibilitychange'));
    window.dispatchEvent(new Event('pagehide'));
    visibility.mockRestore();
    expect(beacons[0]?.events.map(event => event.kind)).toEqual(['hidden']);
    expect(summary(all())).toEqual(['attempt', 'start', 'hidden 0-2000']);
  });

  it('reports the rest when it is stopped, and nothing afterwards', async () => {
    video.play();
    await video.run(1);
    telemetry.stop();
    await video.run(5);
    video.pause();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(summary(all())).toEqual(['attempt', 'start', 'hidden 0-1000']);
  });

  it('starts at the first frame where the browser tells of frames', async () => {
    telemetry.stop();
    received.clear();
    let frame: () => void = () => undefined;
    Object.assign(video.element, {
      requestVideoFrameCallback: (callback: () => void) => {
        frame = callback;
        return 1;
      },
      cancelVideoFrameCallback: () => undefined,
    });
    sessions += 1;
    telemetry = startTelemetry(video.element, {
      url: '/t',
      sessionId: `s${sessions}`,
      videoId: 'v',
      grant: null,
      durationMs: null,
      environment: {
        clock: fakeClock,
        random: () => 0,
        storage: null,
        sendBeacon: null,
        fetch: async (_, init) => {
          take(String(init?.body));
          return new Response('{}', { status: 202 });
        },
      },
    });
    // The first picture of a video that was not asked to play is no start.
    frame();
    video.play();
    await vi.advanceTimersByTimeAsync(400);
    frame();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(summary(all())).toEqual(['attempt', 'start']);
    expect(all()[1]?.startup_ms).toBe(400);
  });
});
