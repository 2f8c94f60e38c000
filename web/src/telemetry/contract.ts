/**
 * The wire form of playback telemetry, as `POST /api/v1/telemetry` takes it. Times are integers:
 * `*_ms` in milliseconds, `*_ts` in microseconds since 1970 by the client's clock.
 */

export type EventKind =
  | 'attempt'
  | 'start'
  | 'heartbeat'
  | 'pause'
  | 'seek'
  | 'stall_begin'
  | 'stall_end'
  | 'rendition_change'
  | 'error'
  | 'end'
  | 'hidden';

export type WatchSource = 'home' | 'search' | 'related' | 'channel' | 'external' | 'embed' | 'preview';

export interface TelemetryEvent {
  /** Number of the event in its session, from 0 without gaps. */
  seq: number;
  kind: EventKind;
  client_ts: number;
  /** On heartbeat, pause, seek, end and hidden: the part of the media rendered since the last of these. */
  media_from_ms?: number;
  media_to_ms?: number;
  speed?: number;
  rendition?: string;
  startup_ms?: number;
  stall_ms?: number;
  dropped_frames?: number;
  bitrate_kbps?: number;
  error_code?: string;
}

/** What all events of a session have in common. */
export interface SessionHeader {
  session_id: string;
  video_id: string;
  /** Signed by the server; without it events are stored and never counted. */
  grant: string | null;
  source: WatchSource | null;
  referrer_host: string | null;
  experiment: string | null;
  player: string;
}

export interface TelemetryBatch extends SessionHeader {
  /** When this attempt to send was made: the server corrects the events' clock by it. */
  sent_ts: number;
  events: TelemetryEvent[];
}

/** The longest interval one event may report. */
export const MAX_INTERVAL_MS = 10_000;
export const MAX_BATCH_EVENTS = 500;
/** Below the server's 256 KiB and, for beacons, below the browsers' 64 KiB. */
export const MAX_BATCH_BYTES = 56 * 1024;

/** Watch time that makes a view: 30 s, or half of a video shorter than a minute. */
export function viewThresholdMs(durationMs: number): number {
  return durationMs < 60_000 ? Math.ceil(durationMs / 2) : 30_000;
}
