/** A clock that tests move, together with Vitest's fake timers. */
import { vi } from 'vitest';
import type { TelemetryEvent } from './contract';
import type { Clock } from './recorder';

export const EPOCH_MS = Date.UTC(2030, 0, 1);

/** Reads the fake timers' time; call `vi.useFakeTimers({ now: EPOCH_MS })` first. */
export const fakeClock: Clock = { wallMs: () => Date.now(), monotonicMs: () => Date.now() - EPOCH_MS };

export function startFakeTime(): void {
  vi.useFakeTimers({ now: EPOCH_MS });
}

/** `kind from-to`, the way tests compare intervals. */
export function summary(events: TelemetryEvent[]): string[] {
  return events.map(({ kind, media_from_ms: from, media_to_ms: to }) =>
    from === undefined ? kind : `${kind} ${from}-${to}`,
  );
}

/** What the events say was watched. */
export function watched(events: TelemetryEvent[]): number {
  return events.reduce((sum, event) => sum + (event.media_to_ms ?? 0) - (event.media_from_ms ?? 0), 0);
}
