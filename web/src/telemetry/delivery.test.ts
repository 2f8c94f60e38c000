import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { SessionHeader, TelemetryBatch, TelemetryEvent } from './contract';
import { Delivery, type DeliveryEnvironment, recoverPending, retryAfterMs } from './delivery';
import { EPOCH_MS, fakeClock, startFakeTime } from './testing';

type Answer = number | 'cut' | { status: number; retryAfter: string };

const URL_PATH = '/api/v1/telemetry';
let sessions = 0;
let sent: TelemetryBatch[];
let beacons: TelemetryBatch[];
let answers: Answer[];
let environment: DeliveryEnvironment;

function header(): SessionHeader {
  sessions += 1;
  return {
    session_id: `session-${sessions}`,
    video_id: 'video',
    grant: 'signed',
    source: 'home',
    referrer_host: null,
    experiment: null,
    player: 'test',
  };
}

function event(seq: number): TelemetryEvent {
  return {
    seq,
    kind: 'heartbeat',
    client_ts: EPOCH_MS * 1000,
    media_from_ms: seq * 1000,
    media_to_ms: seq * 1000 + 900,
  };
}

const numbers = (batch: TelemetryBatch | undefined) => batch?.events.map(({ seq }) => seq);
/** Lets promises settle without moving the clock. */
const settle = () => vi.advanceTimersByTimeAsync(0);

beforeEach(() => {
  startFakeTime();
  window.sessionStorage.clear();
  sent = [];
  beacons = [];
  answers = [];
  environment = {
    clock: fakeClock,
    random: () => 1,
    storage: window.sessionStorage,
    sendBeacon: (_, body) => {
      beacons.push(JSON.parse(body));
      return true;
    },
    fetch: async (_, init) => {
      sent.push(JSON.parse(String(init?.body)));
      const answer = answers.shift() ?? 202;
      if (answer === 'cut') throw new TypeError('Failed to fetch');
      if (typeof answer === 'number') return new Response('{}', { status: answer });
      return new Response('{}', { status: answer.status, headers: { 'Retry-After': answer.retryAfter } });
    },
  };
  return () => vi.useRealTimers();
});

describe('Delivery', () => {
  it('sends a prompt event at once with its session', async () => {
    const about = header();
    const delivery = new Delivery(URL_PATH, about, environment);
    delivery.push(event(0), true);
    await settle();
    expect(sent).toEqual([{ ...about, sent_ts: EPOCH_MS * 1000, events: [event(0)] }]);
    expect(delivery.pending).toBe(0);
    expect(window.sessionStorage).toHaveLength(0);
  });

  it('lets other events wait a second for company', async () => {
    const delivery = new Delivery(URL_PATH, header(), environment);
    delivery.push(event(0), false);
    await vi.advanceTimersByTimeAsync(900);
    delivery.push(event(1), false);
    expect(sent).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(100);
    expect(sent.map(numbers)).toEqual([[0, 1]]);
  });

  it('sends a batch again unchanged until it is acknowledged, and keeps the order', async () => {
    answers = ['cut', 503, 'cut', 202];
    const delivery = new Delivery(URL_PATH, header(), environment);
    delivery.push(event(0), true);
    await settle();
    delivery.push(event(1), true);
    delivery.push(event(2), true);
    await vi.advanceTimersByTimeAsync(1_000 + 2_000 + 4_000);
    expect(sent.map(numbers)).toEqual([[0], [0], [0], [0], [1, 2]]);
    expect(sent.slice(0, 4).map(batch => batch.events)).toEqual(Array(4).fill([event(0)]));
    expect(sent.map(batch => batch.sent_ts / 1000 - EPOCH_MS)).toEqual([0, 1_000, 3_000, 7_000, 7_000]);
    expect(delivery.pending).toBe(0);
  });

  it('waits ever longer, up to a minute', async () => {
    answers = Array(12).fill('cut');
    const delivery = new Delivery(URL_PATH, header(), environment);
    delivery.push(event(0), true);
    await vi.advanceTimersByTimeAsync(400_000);
    const gaps = sent.slice(1).map((batch, n) => (batch.sent_ts - (sent[n]?.sent_ts ?? 0)) / 1_000);
    expect(gaps.slice(0, 8)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
  });

  it.each([429, 503])('waits as long as Retry-After says on %d', async status => {
    answers = [{ status, retryAfter: '7' }];
    const delivery = new Delivery(URL_PATH, header(), environment);
    delivery.push(event(0), true);
    await vi.advanceTimersByTimeAsync(6_999);
    expect(sent).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(sent.map(numbers)).toEqual([[0], [0]]);
    expect(delivery.pending).toBe(0);
  });

  it.each([400, 403, 413, 422])('gives a batch up on %d and goes on with the next', async status => {
    answers = [status];
    const delivery = new Delivery(URL_PATH, header(), environment);
    delivery.push(event(0), true);
    await settle();
    delivery.push(event(1), true);
    await settle();
    expect(sent.map(numbers)).toEqual([[0], [1]]);
    expect(delivery.refused).toBe(1);
    expect(delivery.pending).toBe(0);
  });

  it('has one request under way at a time', async () => {
    let reply: (response: Response) => void = () => undefined;
    const bodies: string[] = [];
    environment.fetch = (_, init) => {
      bodies.push(String(init?.body));
      return new Promise(resolve => {
        reply = resolve;
      });
    };
    const delivery = new Delivery(URL_PATH, header(), environment);
    delivery.push(event(0), true);
    delivery.push(event(1), true);
    delivery.push(event(2), true);
    await settle();
    expect(bodies).toHaveLength(1);
    reply(new Response('{}', { status: 202 }));
    await settle();
    expect(bodies).toHaveLength(2);
    expect(numbers(JSON.parse(bodies[1] ?? '{}'))).toEqual([1, 2]);
  });

  it('keeps within 500 events and the size of a beacon', async () => {
    answers = ['cut'];
    const delivery = new Delivery(URL_PATH, header(), environment);
    for (let seq = 0; seq < 1_300; seq += 1) delivery.push(event(seq), false);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(sent.slice(1).flatMap(batch => numbers(batch))).toEqual(Array.from({ length: 1_300 }, (_, n) => n));
    for (const batch of sent) {
      expect(batch.events.length).toBeLessThanOrEqual(500);
      expect(JSON.stringify(batch).length).toBeLessThan(60_000);
    }
  });

  it('hands everything unacknowledged to a beacon, and sends it again should the page live on', async () => {
    answers = ['cut'];
    const delivery = new Delivery(URL_PATH, header(), environment);
    delivery.push(event(0), true);
    await settle();
    delivery.push(event(1), false);
    delivery.beacon();
    delivery.beacon();
    expect(beacons.map(numbers)).toEqual([[0], [1]]);
    expect(delivery.pending).toBe(2);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(sent.map(numbers)).toEqual([[0], [0], [1]]);
    expect(delivery.pending).toBe(0);
  });

  it('uses fetch where a beacon is refused', async () => {
    environment.sendBeacon = () => false;
    const delivery = new Delivery(URL_PATH, header(), environment);
    delivery.push(event(0), false);
    delivery.beacon();
    expect(sent.map(numbers)).toEqual([[0]]);
  });

  it('tries at once when the network is back', async () => {
    answers = ['cut', 'cut', 'cut', 'cut'];
    const about = header();
    const own = () => sent.filter(batch => batch.session_id === about.session_id);
    const delivery = new Delivery(URL_PATH, about, environment);
    delivery.push(event(0), true);
    await vi.advanceTimersByTimeAsync(7_000);
    expect(own()).toHaveLength(4);
    window.dispatchEvent(new Event('online'));
    await settle();
    expect(own()).toHaveLength(5);
    expect(delivery.pending).toBe(0);
  });

  it('tells when all is delivered', async () => {
    answers = ['cut'];
    const delivery = new Delivery(URL_PATH, header(), environment);
    delivery.push(event(0), true);
    const settled = vi.fn();
    void delivery.settled().then(settled);
    await vi.advanceTimersByTimeAsync(500);
    expect(settled).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(600);
    expect(settled).toHaveBeenCalled();
  });
});

describe('recoverPending', () => {
  it('sends what an earlier page left behind, unchanged, and nothing of sessions still running', async () => {
    const about = header();
    const left = { url: URL_PATH, header: about, batches: [[event(0), event(1)], [event(2)]] };
    window.sessionStorage.setItem(`millrace.telemetry.${about.session_id}`, JSON.stringify(left));
    window.sessionStorage.setItem('millrace.telemetry.broken', '{"url":');
    window.sessionStorage.setItem('unrelated', 'kept');
    answers = ['cut'];
    const running = new Delivery(URL_PATH, header(), environment);
    running.push(event(9), true);
    await settle();

    expect(recoverPending(environment)).toHaveLength(1);
    await settle();
    expect(sent.slice(1).map(batch => [batch.session_id, numbers(batch)])).toEqual([
      [about.session_id, [0, 1]],
      [about.session_id, [2]],
    ]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(Object.keys(window.sessionStorage)).toEqual(['unrelated']);
  });

  it('finds in the storage what a page that died had not sent', async () => {
    answers = ['cut'];
    const about = header();
    new Delivery(URL_PATH, about, environment).push(event(0), true);
    await settle();
    const stored = JSON.parse(window.sessionStorage.getItem(`millrace.telemetry.${about.session_id}`) ?? 'null');
    expect(stored).toEqual({ url: URL_PATH, header: about, batches: [[event(0)]] });
  });
});

describe('retryAfterMs', () => {
  it.each([
    [null, 0],
    ['', 0],
    ['soon', 0],
    ['3', 3_000],
    ['-3', 0],
    ['999999', 3_600_000],
    [new Date(EPOCH_MS + 5_000).toUTCString(), 5_000],
    [new Date(EPOCH_MS - 5_000).toUTCString(), 0],
  ])('reads %j as %d ms', (text, wait) => {
    expect(retryAfterMs(text, EPOCH_MS)).toBe(wait);
  });
});
