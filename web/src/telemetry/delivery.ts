/**
 * Brings a session's events to the server. An event is kept until the server has acknowledged it
 * (2xx) or refused it for good (4xx other than 408 and 429): until then its batch is sent again with the same
 * events. What is unacknowledged also lies in `sessionStorage`, so that a reload loses nothing;
 * `recoverPending` sends what an earlier page left behind.
 */
import {
  MAX_BATCH_BYTES,
  MAX_BATCH_EVENTS,
  type SessionHeader,
  type TelemetryBatch,
  type TelemetryEvent,
} from './contract';
import { type Clock, systemClock } from './recorder';

export interface DeliveryEnvironment {
  clock: Clock;
  fetch: typeof fetch;
  /** Absent where the browser has none; `fetch` with `keepalive` stands in. */
  sendBeacon: ((url: string, body: string) => boolean) | null;
  storage: Storage | null;
  /** Uniform in [0, 1), for the jitter of retries. */
  random: () => number;
}

export function browserEnvironment(): DeliveryEnvironment {
  let storage: Storage | null = null;
  try {
    storage = window.sessionStorage;
  } catch {
    // Storage can be forbidden by the browser's settings; then the queue lives in memory alone.
  }
  return {
    clock: systemClock,
    fetch: (input, init) => window.fetch(input, init),
    sendBeacon: 'sendBeacon' in navigator ? (url, body) => navigator.sendBeacon(url, body) : null,
    storage,
    random: Math.random,
  };
}

interface Stored {
  url: string;
  header: SessionHeader;
  batches: TelemetryEvent[][];
}

const STORAGE_PREFIX = 'millrace.telemetry.';
const COMPANY_MS = 1_000;
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;
const REPLY_TIMEOUT_MS = 20_000;
/** About a day of heartbeats; beyond it the newest events are dropped. */
const MAX_QUEUED_EVENTS = 10_000;

const liveSessions = new Set<string>();

export class Delivery {
  readonly #url: string;
  readonly #header: SessionHeader;
  readonly #env: DeliveryEnvironment;

  /** Batches never change once formed, so that a resend carries the same events. */
  #batches: TelemetryEvent[][] = [];
  #open: TelemetryEvent[] = [];
  #sending = false;
  #persisting = false;
  /** Something came since the last beacon. */
  #fresh = false;
  #failures = 0;
  #companyTimer: ReturnType<typeof setTimeout> | null = null;
  #retryTimer: ReturnType<typeof setTimeout> | null = null;
  #idle: (() => void)[] = [];
  #refused = 0;

  constructor(url: string, header: SessionHeader, env: DeliveryEnvironment, left: TelemetryEvent[][] = []) {
    this.#url = url;
    this.#header = header;
    this.#env = env;
    this.#batches = left;
    liveSessions.add(header.session_id);
    if (left.length > 0) void this.#pump();
  }

  /** Events not yet acknowledged. */
  get pending(): number {
    return this.#batches.reduce((sum, batch) => sum + batch.length, this.#open.length);
  }

  /** Events that the server refused for good. */
  get refused(): number {
    return this.#refused;
  }

  push(event: TelemetryEvent, prompt: boolean): void {
    if (this.pending >= MAX_QUEUED_EVENTS) return;
    this.#open.push(event);
    this.#fresh = true;
    this.#persist();
    if (prompt) this.flush();
    else this.#companyTimer ??= setTimeout(() => this.flush(), COMPANY_MS);
  }

  /** Sends what waits, unless a request or a back-off is under way: then it follows by itself. */
  flush(): void {
    this.#clearCompany();
    void this.#pump();
  }

  /** Hands everything unacknowledged to the browser, which sends it even if the page is gone a moment later. */
  beacon(): void {
    // A page that goes away is hidden first; saying the same twice helps nobody.
    if (!this.#fresh) return;
    this.#fresh = false;
    this.#clearCompany();
    this.#seal();
    for (const events of this.#batches) {
      const body = this.#body(events);
      if (!this.#env.sendBeacon?.(this.#url, body)) {
        this.#env.fetch(this.#url, this.#request(body)).catch(() => {
          // The batch stays queued; the next page of this tab sends it.
        });
      }
    }
    // A beacon has no reply. Should the page live on, the batches are sent again; the server knows their numbers.
    this.#persist();
    if (!this.#sending && this.#retryTimer === null && this.#batches.length > 0) {
      this.#retryIn(COMPANY_MS);
    }
  }

  /** Resolves when nothing waits any more. */
  settled(): Promise<void> {
    if (this.pending === 0) return Promise.resolve();
    return new Promise(resolve => this.#idle.push(resolve));
  }

  async #pump(): Promise<void> {
    if (this.#sending || this.#retryTimer !== null) return;
    this.#sending = true;
    try {
      while (this.#seal()) {
        const [batch] = this.#batches;
        if (!batch) break;
        const wait = await this.#send(batch);
        if (wait !== null) {
          this.#retryIn(wait);
          return;
        }
        this.#batches.shift();
        this.#failures = 0;
        this.#persist();
      }
    } finally {
      this.#sending = false;
    }
    if (this.pending === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Null when the batch is done with, else the milliseconds to wait before it is sent again. */
  async #send(events: TelemetryEvent[]): Promise<number | null> {
    let retryAfter: string | null = null;
    try {
      const reply = await this.#env.fetch(this.#url, {
        ...this.#request(this.#body(events)),
        signal: AbortSignal.timeout(REPLY_TIMEOUT_MS),
      });
      if (reply.ok) return null;
      if (reply.status >= 400 && reply.status < 500 && reply.status !== 429 && reply.status !== 408) {
        this.#refused += events.length;
        return null;
      }
      retryAfter = reply.headers.get('Retry-After');
    } catch {
      // No network, no server, or no reply in time: all of them are tried again.
    }
    const ceiling = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures);
    this.#failures += 1;
    const backOff = ceiling * (0.5 + this.#env.random() / 2);
    return Math.max(backOff, retryAfterMs(retryAfter, this.#env.clock.wallMs()));
  }

  #retryIn(wait: number): void {
    this.#retryTimer = setTimeout(this.#retry, wait);
    window.addEventListener('online', this.#retry);
  }

  #retry = (): void => {
    window.removeEventListener('online', this.#retry);
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    void this.#pump();
  };

  /** Forms batches of what waits; true if there is any batch. */
  #seal(): boolean {
    while (this.#open.length > 0) {
      let bytes = 2_048;
      let count = 0;
      for (const event of this.#open) {
        bytes += JSON.stringify(event).length + 1;
        if (count > 0 && (bytes > MAX_BATCH_BYTES || count >= MAX_BATCH_EVENTS)) break;
        count += 1;
      }
      this.#batches.push(this.#open.splice(0, count));
    }
    return this.#batches.length > 0;
  }

  #body(events: TelemetryEvent[]): string {
    const batch: TelemetryBatch = { ...this.#header, sent_ts: Math.round(this.#env.clock.wallMs() * 1000), events };
    return JSON.stringify(batch);
  }

  #request(body: string): RequestInit {
    return {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body,
      keepalive: true,
      credentials: 'same-origin',
    };
  }

  /** Writes what is unacknowledged, once for all changes made in the same breath. */
  #persist(): void {
    if (this.#persisting) return;
    this.#persisting = true;
    queueMicrotask(() => {
      this.#persisting = false;
      this.#write();
    });
  }

  #write(): void {
    const key = STORAGE_PREFIX + this.#header.session_id;
    try {
      if (this.pending === 0) {
        this.#env.storage?.removeItem(key);
        return;
      }
      const batches = this.#open.length > 0 ? [...this.#batches, this.#open] : this.#batches;
      const stored: Stored = { url: this.#url, header: this.#header, batches };
      this.#env.storage?.setItem(key, JSON.stringify(stored));
    } catch {
      // Full or forbidden storage costs only what a reload would have kept.
    }
  }

  #clearCompany(): void {
    if (this.#companyTimer !== null) clearTimeout(this.#companyTimer);
    this.#companyTimer = null;
  }
}

/** Sends what earlier pages of this tab could not; call it once when the app starts. */
export function recoverPending(env: DeliveryEnvironment = browserEnvironment()): Delivery[] {
  const storage = env.storage;
  if (!storage) return [];
  const keys = Array.from({ length: storage.length }, (_, n) => storage.key(n));
  const recovered: Delivery[] = [];
  for (const key of keys) {
    if (!key?.startsWith(STORAGE_PREFIX) || liveSessions.has(key.slice(STORAGE_PREFIX.length))) continue;
    const stored = parseStored(storage.getItem(key));
    if (stored) recovered.push(new Delivery(stored.url, stored.header, env, stored.batches));
    else storage.removeItem(key);
  }
  return recovered;
}

function parseStored(text: string | null): Stored | null {
  try {
    const value = JSON.parse(text ?? 'null') as Partial<Stored> | null;
    const whole = typeof value?.url === 'string' && typeof value.header?.session_id === 'string';
    return whole && Array.isArray(value.batches) ? (value as Stored) : null;
  } catch {
    return null;
  }
}

/** The wait that a `Retry-After` header (seconds or a date) asks for, 0 without one, an hour at most. */
export function retryAfterMs(header: string | null, wallMs: number): number {
  if (!header) return 0;
  const seconds = Number(header);
  const wait = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - wallMs;
  return Number.isFinite(wait) ? Math.min(Math.max(0, wait), 3_600_000) : 0;
}
