/**
 * Turns positions of a playhead into the intervals that it really rendered. Rewatched parts are
 * reported again, a jump ends an interval, and no interval is longer than `MAX_INTERVAL_MS`.
 * Positions are milliseconds of media; intervals have integer bounds and follow on each other
 * without overlap or rounding loss.
 */
import { MAX_INTERVAL_MS } from './contract';

export interface Interval {
  fromMs: number;
  toMs: number;
}

/** Players report a position slightly before the last one now and then; that is not a jump. */
const JITTER_MS = 100;

export class IntervalTracker {
  #from = 0;
  #to = 0;

  /** Rendered and not yet reported. */
  get pendingMs(): number {
    return this.#to - this.#from;
  }

  /**
   * The playhead played on to `positionMs`. Returns the intervals that are complete by that and
   * must be reported now. A move backwards, or further ahead than `furthestMs` could have been
   * played, is a jump: what lies between was not rendered.
   */
  advance(positionMs: number, furthestMs: number = Number.POSITIVE_INFINITY): Interval[] {
    const position = wholeMs(positionMs);
    const moved = position - this.#to;
    if (moved <= 0 && moved >= -JITTER_MS) return [];
    if (moved < 0 || moved > furthestMs) {
      const closed = this.pendingMs > 0 ? [this.take()] : [];
      this.jump(position);
      return closed;
    }
    this.#to = position;
    const full: Interval[] = [];
    while (this.#to - this.#from > MAX_INTERVAL_MS) {
      full.push({ fromMs: this.#from, toMs: this.#from + MAX_INTERVAL_MS });
      this.#from += MAX_INTERVAL_MS;
    }
    if (this.#to - this.#from === MAX_INTERVAL_MS) full.push(this.take());
    return full;
  }

  /** Closes the running interval; the next one starts where it ended. */
  take(): Interval {
    const interval = { fromMs: this.#from, toMs: this.#to };
    this.#from = this.#to;
    return interval;
  }

  /** The playhead now stands at `positionMs` without having rendered the way there. Drops what is pending. */
  jump(positionMs: number): void {
    this.#from = wholeMs(positionMs);
    this.#to = this.#from;
  }
}

function wholeMs(positionMs: number): number {
  return Number.isFinite(positionMs) ? Math.max(0, Math.floor(positionMs)) : 0;
}
