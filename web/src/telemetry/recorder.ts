/**
 * The events of one playback session, as a state machine without I/O: the player's signals go in,
 * numbered telemetry events come out. Guarantees: numbers run from 0 without gaps; `start` comes
 * once and before any interval; every millisecond rendered is in exactly one interval; a heartbeat
 * leaves at least every 10 s of media or of wall time, and at once when the watch time makes a view.
 */
import { type EventKind, type TelemetryEvent, viewThresholdMs } from './contract';
import { type Interval, IntervalTracker } from './intervals';

export interface Clock {
  /** Milliseconds since 1970, as the user's clock says. */
  wallMs(): number;
  /** Milliseconds that never run backwards. */
  monotonicMs(): number;
}

export const systemClock: Clock = { wallMs: () => Date.now(), monotonicMs: () => performance.now() };

export interface RecorderOptions {
  clock?: Clock;
  /** Null while unknown; then no early heartbeat is sent. */
  durationMs: number | null;
  /** Longest time between two heartbeats while playing. */
  heartbeatMs: number;
  /** Frames dropped since playback began, where the browser knows. */
  droppedFrames?: () => number | null;
}

/** Receives each event; `prompt` ones should leave at once, the others may wait for company. */
export type EventSink = (event: TelemetryEvent, prompt: boolean) => void;

type Fields = Omit<Partial<TelemetryEvent>, 'seq' | 'kind' | 'client_ts'>;

const PROMPT: ReadonlySet<EventKind> = new Set(['start', 'heartbeat', 'pause', 'error', 'end', 'hidden']);

export class SessionRecorder {
  readonly #clock: Clock;
  readonly #options: RecorderOptions;
  readonly #sink: EventSink;
  readonly #tracker = new IntervalTracker();

  #seq = 0;
  #last: EventKind | null = null;
  #requestedAt: number | null = null;
  #started = false;
  #playing = false;
  #seeking = false;
  #stalledAt: number | null = null;
  #sampledAt = 0;
  #reportedAt = 0;
  #watchedMs = 0;
  #viewMs: number | null;
  #speed = 1;
  #rendition: string | undefined;
  #bitrateKbps: number | undefined;
  #droppedFrames = 0;

  constructor(options: RecorderOptions, sink: EventSink) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#sink = sink;
    this.#viewMs = options.durationMs === null ? null : viewThresholdMs(options.durationMs);
  }

  get started(): boolean {
    return this.#started;
  }

  /** Media rendered and reported so far, rewatched parts counted again. */
  get watchedMs(): number {
    return this.#watchedMs;
  }

  /** The viewer, or autoplay, asked for playback. */
  requested(): void {
    if (this.#requestedAt !== null) return;
    this.#requestedAt = this.#clock.monotonicMs();
    this.#emit('attempt');
  }

  /** The first frame is on the screen. */
  firstFrame(positionMs: number): void {
    if (this.#started) return;
    this.requested();
    const now = this.#clock.monotonicMs();
    this.#started = true;
    this.#emit('start', { startup_ms: Math.round(now - (this.#requestedAt ?? now)), bitrate_kbps: this.#bitrateKbps });
    this.#resume(positionMs, now);
  }

  /** Media is moving, after a pause, a seek or a stall. */
  playing(positionMs: number): void {
    if (!this.#started) return;
    const now = this.#clock.monotonicMs();
    this.#endStall(now);
    if (!this.#playing) this.#resume(positionMs, now);
  }

  /** A sample of the playhead; call it several times a second while media plays. */
  tick(positionMs: number): void {
    if (!this.#started || !this.#playing || this.#seeking) return;
    const now = this.#clock.monotonicMs();
    const before = this.#tracker.pendingMs;
    const full = this.#observe(positionMs, now);
    if (full.length > 0 || this.#tracker.pendingMs > before) this.#endStall(now);
    for (const interval of full) this.#report('heartbeat', interval);

    const pending = this.#tracker.pendingMs;
    const viewed = this.#viewMs !== null && this.#watchedMs + pending >= this.#viewMs;
    const due = now - this.#reportedAt >= this.#options.heartbeatMs;
    if (pending > 0 && (viewed || due)) this.#report('heartbeat', this.#tracker.take());
    if (this.#viewMs !== null && this.#watchedMs >= this.#viewMs) this.#viewMs = null;
  }

  paused(positionMs: number): void {
    if (!this.#started || !this.#playing) return;
    this.#close('pause', positionMs);
    this.#playing = false;
  }

  /** The playhead is being moved to `positionMs`. Moves without a rendered frame between them count as one. */
  seeking(positionMs: number): void {
    if (!this.#started) return;
    this.#endStall(this.#clock.monotonicMs());
    this.#seeking = true;
    if (this.#tracker.pendingMs > 0 || this.#last !== 'seek') this.#report('seek', this.#tracker.take());
    this.#tracker.jump(positionMs);
  }

  seeked(positionMs: number): void {
    if (!this.#seeking) return;
    this.#seeking = false;
    this.#tracker.jump(positionMs);
    this.#sampledAt = this.#clock.monotonicMs();
  }

  /** The player ran out of media while it should play. */
  stalled(): void {
    if (!this.#started || !this.#playing || this.#seeking || this.#stalledAt !== null) return;
    this.#stalledAt = this.#clock.monotonicMs();
    this.#emit('stall_begin');
  }

  /** The playback rate changed; an interval has one speed. */
  speedChanged(speed: number, positionMs: number): void {
    if (speed === this.#speed || !(speed > 0)) return;
    if (this.#started && this.#playing && !this.#seeking) {
      for (const interval of this.#observe(positionMs, this.#clock.monotonicMs())) this.#report('heartbeat', interval);
      if (this.#tracker.pendingMs > 0) this.#report('heartbeat', this.#tracker.take());
    }
    this.#speed = speed;
  }

  renditionChanged(rendition: string, bitrateKbps?: number): void {
    if (rendition === this.#rendition) return;
    this.#rendition = rendition;
    this.#bitrateKbps = bitrateKbps === undefined ? undefined : Math.round(bitrateKbps);
    if (this.#started) this.#emit('rendition_change', { bitrate_kbps: this.#bitrateKbps });
  }

  failed(code: string): void {
    this.#emit('error', { error_code: code.slice(0, 100) });
  }

  ended(positionMs: number): void {
    if (!this.#started || this.#last === 'end') return;
    this.#close('end', positionMs);
    this.#playing = false;
  }

  /** The page is hidden or left. Media may go on playing; what follows is reported as before. */
  hidden(positionMs: number): void {
    if (this.#requestedAt === null) return;
    if (this.#last === 'hidden' && this.#tracker.pendingMs === 0) return;
    if (this.#last === 'end') return;
    this.#close('hidden', positionMs);
  }

  #resume(positionMs: number, now: number): void {
    this.#playing = true;
    this.#tracker.jump(positionMs);
    this.#sampledAt = now;
    this.#reportedAt = now;
  }

  #observe(positionMs: number, now: number): Interval[] {
    // Timers of a page in the background run late, so a long step is honest if time passed too.
    const furthestMs = (now - this.#sampledAt) * Math.max(1, this.#speed) * 1.25 + 1_000;
    this.#sampledAt = now;
    return this.#tracker.advance(positionMs, furthestMs);
  }

  #close(kind: EventKind, positionMs: number): void {
    const now = this.#clock.monotonicMs();
    if (this.#playing && !this.#seeking) {
      for (const interval of this.#observe(positionMs, now)) this.#report('heartbeat', interval);
    }
    this.#endStall(now);
    this.#report(kind, this.#tracker.take());
  }

  #endStall(now: number): void {
    if (this.#stalledAt === null) return;
    const stalledMs = Math.round(now - this.#stalledAt);
    this.#stalledAt = null;
    this.#emit('stall_end', { stall_ms: stalledMs });
  }

  #report(kind: EventKind, interval: Interval): void {
    this.#watchedMs += interval.toMs - interval.fromMs;
    this.#reportedAt = this.#clock.monotonicMs();
    this.#emit(kind, {
      media_from_ms: interval.fromMs,
      media_to_ms: interval.toMs,
      dropped_frames: this.#newDroppedFrames(),
      bitrate_kbps: this.#bitrateKbps,
    });
  }

  #newDroppedFrames(): number | undefined {
    const total = this.#options.droppedFrames?.() ?? null;
    if (total === null) return undefined;
    const fresh = Math.max(0, total - this.#droppedFrames);
    this.#droppedFrames = total;
    return fresh;
  }

  #emit(kind: EventKind, fields: Fields = {}): void {
    const event: TelemetryEvent = {
      seq: this.#seq++,
      kind,
      client_ts: Math.round(this.#clock.wallMs() * 1000),
      speed: this.#speed,
      rendition: this.#started ? this.#rendition : undefined,
      ...fields,
    };
    this.#last = kind;
    this.#sink(event, PROMPT.has(kind));
  }
}
