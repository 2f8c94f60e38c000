/** Plays an HLS address in a media element: by hls.js, or by the browser itself where it can and hls.js can't. */
import type Hls from 'hls.js';
import type { ErrorData, Level } from 'hls.js';
import { type RefObject, useCallback, useEffect, useRef, useState } from 'react';

export interface Quality {
  index: number;
  /** As the server names the rendition, such as `720p`. */
  name: string;
  bitrateKbps: number;
}

/** The index that leaves the choice to the player. */
export const AUTO = -1;

export interface HlsPlayback {
  qualities: Quality[];
  /** What the viewer chose. */
  chosen: number;
  /** What is shown. */
  shown: Quality | null;
  /** The code of what ended playback for good. */
  failure: string | null;
  choose: (index: number) => void;
  retry: () => void;
}

const NETWORK_RETRIES = 5;
const MEDIA_RECOVERIES = 2;
const NETWORK_RETRY_MS = 2_000;

export function useHls(media: RefObject<HTMLVideoElement | null>, src: string | null, autoPlay: boolean): HlsPlayback {
  const engine = useRef<Hls | null>(null);
  const [qualities, setQualities] = useState<Quality[]>([]);
  const [chosen, setChosen] = useState(AUTO);
  const [shown, setShown] = useState<Quality | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  const [attempt, setAttempt] = useState(0);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a further attempt begins anew with the same address
  useEffect(() => {
    const element = media.current;
    if (!element || !src) return;
    let over = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    setFailure(null);
    setChosen(AUTO);
    setShown(null);

    const play = () => {
      // Refused without a gesture by the viewer: then the button waits for one.
      if (autoPlay) element.play().catch(() => undefined);
    };
    const fail = (code: string) => {
      engine.current?.destroy();
      engine.current = null;
      setFailure(code);
    };

    const start = async () => {
      const { default: Engine } = await import('hls.js');
      if (over) return;
      if (!Engine.isSupported()) {
        if (element.canPlayType('application/vnd.apple.mpegurl') === '') return fail('unsupported');
        element.src = src;
        play();
        return;
      }
      const hls = new Engine({ startPosition: 0, capLevelToPlayerSize: true, backBufferLength: 60 });
      engine.current = hls;
      let networkErrors = 0;
      let mediaErrors = 0;

      hls.on(Engine.Events.MANIFEST_PARSED, (_, { levels }) => {
        setQualities(levels.map(qualityOf));
        play();
      });
      hls.on(Engine.Events.LEVEL_SWITCHED, (_, { level }) => {
        const now = hls.levels[level];
        if (now) setShown(qualityOf(now, level));
      });
      hls.on(Engine.Events.FRAG_BUFFERED, (_, { frag }) => {
        networkErrors = 0;
        // What is buffered first is shown first; the switch is told only after the first frame.
        const first = frag.type === 'main' ? hls.levels[frag.level] : undefined;
        if (first) setShown(before => before ?? qualityOf(first, frag.level));
      });
      hls.on(Engine.Events.ERROR, (_, data: ErrorData) => {
        if (!data.fatal) return;
        const status = data.response?.code ?? 0;
        if (data.type === Engine.ErrorTypes.MEDIA_ERROR && mediaErrors++ < MEDIA_RECOVERIES) {
          hls.recoverMediaError();
        } else if (
          data.type === Engine.ErrorTypes.NETWORK_ERROR &&
          !isRefusal(status) &&
          networkErrors++ < NETWORK_RETRIES
        ) {
          timer = setTimeout(() => (hls.levels.length > 0 ? hls.startLoad() : hls.loadSource(src)), NETWORK_RETRY_MS);
        } else {
          fail(data.details);
        }
      });
      hls.loadSource(src);
      hls.attachMedia(element);
    };
    start().catch(() => !over && fail('player_not_loaded'));

    const elementFailed = () => {
      if (!engine.current && element.error) setFailure(`media_error_${element.error.code}`);
    };
    element.addEventListener('error', elementFailed);
    return () => {
      over = true;
      clearTimeout(timer);
      element.removeEventListener('error', elementFailed);
      engine.current?.destroy();
      engine.current = null;
    };
  }, [media, src, autoPlay, attempt]);

  const choose = useCallback((index: number) => {
    if (engine.current) engine.current.nextLevel = index;
    setChosen(index);
  }, []);
  const retry = useCallback(() => setAttempt(count => count + 1), []);
  return { qualities, chosen, shown, failure, choose, retry };
}

function isRefusal(status: number): boolean {
  return status >= 400 && status < 500 && status !== 429 && status !== 408;
}

function qualityOf(level: Level, index: number): Quality {
  const file = level.uri
    ?.split(/[?#]/)[0]
    ?.split('/')
    .pop()
    ?.replace(/\.m3u8$/, '');
  return { index, name: file || `${level.height}p`, bitrateKbps: Math.round(level.bitrate / 1000) };
}
