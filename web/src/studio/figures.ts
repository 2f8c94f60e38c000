/** Makes of the server's figures what the plots draw. */
import type { HourFigures, VideoStats } from '../api/types';

const HOUR_MS = 3_600_000;

export interface Bar {
  /** The start of the bar's time, ms since 1970. */
  at: number;
  views: number;
  starts: number;
}

/** One bar per `hoursPerBar`, also where nothing was watched, up to the hour of `now`. */
export function bars(hours: HourFigures[], span: number, hoursPerBar: number, now: number): Bar[] {
  const end = Math.floor(now / HOUR_MS) * HOUR_MS + HOUR_MS;
  const width = hoursPerBar * HOUR_MS;
  const start = end - span * HOUR_MS;
  const made = Array.from({ length: Math.ceil(span / hoursPerBar) }, (_, n) => ({
    at: start + n * width,
    views: 0,
    starts: 0,
  }));
  for (const { hour, views, starts } of hours) {
    const bar = made[Math.floor((Date.parse(hour) - start) / width)];
    if (!bar) continue;
    bar.views += views;
    bar.starts += starts;
  }
  return made;
}

/** The bars under which a time is written: where a day begins for the reader, or every fourth hour of a single day. */
export function ticks(made: Bar[], span: number): number[] {
  if (span <= 24) return made.map(bar => bar.at).filter(at => new Date(at).getHours() % 4 === 0);
  const day = (at: number) => new Date(at).toDateString();
  return made.filter((bar, n) => day(bar.at) !== day(made[n - 1]?.at ?? bar.at)).map(bar => bar.at);
}

export interface RetentionMark {
  /** The middle of the hundredth that the point is about, ms of the video. */
  at: number;
  /** Percent. */
  watched: number;
  viewers: number;
}

export function retentionMarks(retention: NonNullable<VideoStats['retention']>): RetentionMark[] {
  const { points, duration_ms } = retention;
  return points.map(({ watched_ratio, viewers_ratio }, n) => ({
    at: ((n + 0.5) / points.length) * duration_ms,
    watched: Math.round(watched_ratio * 1000) / 10,
    viewers: Math.round(viewers_ratio * 1000) / 10,
  }));
}

/** Percents to draw lines at: by 25 up to the next above the highest mark, 100 at least; by 50 where that is far up. */
export function percentTicks(marks: RetentionMark[]): number[] {
  const most = Math.max(100, ...marks.flatMap(mark => [mark.watched, mark.viewers]));
  const step = 25 * Math.ceil(most / 200);
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, n) => n * step);
}

/** The statement that recounts a video's views over the lake. */
export function recountSql(videoId: string): string {
  return `select count(*) from views where video_id = '${videoId.replaceAll("'", "''")}'`;
}
