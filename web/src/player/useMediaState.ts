import { type RefObject, useEffect, useState } from 'react';

/** What the controls show of a media element. Times are seconds. */
export interface MediaState {
  paused: boolean;
  ended: boolean;
  waiting: boolean;
  /** Something was shown already. */
  begun: boolean;
  time: number;
  duration: number;
  buffered: number;
  volume: number;
  muted: boolean;
  speed: number;
}

const EVENTS = [
  'play',
  'playing',
  'pause',
  'ended',
  'waiting',
  'seeking',
  'seeked',
  'canplay',
  'timeupdate',
  'durationchange',
  'progress',
  'volumechange',
  'ratechange',
  'emptied',
] as const;

const INITIAL: MediaState = {
  paused: true,
  ended: false,
  waiting: false,
  begun: false,
  time: 0,
  duration: 0,
  buffered: 0,
  volume: 1,
  muted: false,
  speed: 1,
};

export function useMediaState(media: RefObject<HTMLVideoElement | null>): MediaState {
  const [state, setState] = useState(INITIAL);
  useEffect(() => {
    const element = media.current;
    if (!element) return;
    const read = (event?: Event) => {
      setState(before => ({
        paused: element.paused,
        ended: element.ended,
        // Browsers say `waiting` at the very end too.
        waiting:
          !element.ended &&
          (event?.type === 'waiting' ||
            (before.waiting && !element.paused && element.readyState < HTMLMediaElement.HAVE_FUTURE_DATA)),
        begun: before.begun || element.currentTime > 0,
        time: element.currentTime,
        duration: Number.isFinite(element.duration) ? element.duration : 0,
        buffered: bufferedEnd(element),
        volume: element.volume,
        muted: element.muted,
        speed: element.playbackRate,
      }));
    };
    read();
    for (const name of EVENTS) element.addEventListener(name, read);
    return () => {
      for (const name of EVENTS) element.removeEventListener(name, read);
    };
  }, [media]);
  return state;
}

/** The end of the buffered range around the playhead. */
function bufferedEnd({ buffered, currentTime }: HTMLMediaElement): number {
  for (let n = 0; n < buffered.length; n += 1) {
    if (buffered.start(n) <= currentTime + 0.5 && buffered.end(n) >= currentTime) return buffered.end(n);
  }
  return currentTime;
}
