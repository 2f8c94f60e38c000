/** One visit's playback: the session that the server grants, and the telemetry that reports it. */
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { type RefObject, useCallback, useEffect, useRef, useState } from 'react';
import { useLocation } from 'react-router';
import { api } from '../api/client';
import type { PlaybackSession, Video } from '../api/types';
import type { Quality } from '../player/useHls';
import { startTelemetry, type Telemetry, type WatchSource } from '../telemetry';

const SOURCES: readonly WatchSource[] = ['home', 'search', 'related', 'channel', 'external', 'embed', 'preview'];
/** A grant this near its end is not begun with. */
const GRANT_MARGIN_MS = 60_000;

interface Origin {
  source: WatchSource | null;
  referrerHost: string | null;
}

export interface Playback {
  /** Null until the session is there, or is known not to come. */
  src: string | null;
  onRendition: (quality: Quality) => void;
  onFailure: (code: string) => void;
}

export function usePlayback(video: Video, media: RefObject<HTMLVideoElement | null>): Playback {
  const [visit] = useState(() => crypto.randomUUID?.() ?? String(Math.random()));
  const [round, setRound] = useState(0);
  const origin = useOrigin();
  const telemetry = useRef<Telemetry | null>(null);
  const shown = useRef<Quality | null>(null);
  const { id } = video;
  const playable = video.hls_url !== null;
  const duration = useRef(video.duration_ms);
  duration.current = video.duration_ms;

  const session = useQuery({
    queryKey: ['playback', id, visit, round],
    queryFn: ({ signal }) => api.openPlayback(id, signal),
    enabled: playable,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
    placeholderData: keepPreviousData,
    refetchOnWindowFocus: false,
  });
  const opened: PlaybackSession | undefined = session.data;

  useEffect(() => {
    const element = media.current;
    if (!element || !opened) return;
    const running = startTelemetry(element, {
      url: opened.telemetry_url,
      sessionId: opened.session_id,
      videoId: id,
      grant: opened.grant,
      durationMs: duration.current,
      heartbeatMs: opened.heartbeat_ms,
      ...origin,
    });
    telemetry.current = running;
    if (shown.current) running.renditionChanged(shown.current.name, shown.current.bitrateKbps);

    // A page left open for long outlives its grant; pressing play on it begins a new session.
    const renew = () => {
      if (Date.now() > Date.parse(opened.expires_at) - GRANT_MARGIN_MS) setRound(before => before + 1);
    };
    element.addEventListener('play', renew);
    return () => {
      element.removeEventListener('play', renew);
      running.stop();
      telemetry.current = null;
    };
  }, [media, id, opened, origin]);

  const onRendition = useCallback((quality: Quality) => {
    shown.current = quality;
    telemetry.current?.renditionChanged(quality.name, quality.bitrateKbps);
  }, []);
  const onFailure = useCallback((code: string) => telemetry.current?.failed(code), []);

  // Whoever may see the video may watch it even when no session can be had; it is then not counted.
  const src = opened?.hls_url ?? (session.isError ? video.hls_url : null);
  return { src, onRendition, onFailure };
}

/** Where the viewer came from: a list of this app, or another page that linked here. */
function useOrigin(): Origin {
  const { state } = useLocation();
  const [origin] = useState((): Origin => {
    const named = (state as { source?: unknown } | null)?.source;
    const source = SOURCES.find(known => known === named) ?? null;
    const referrerHost = foreignHost(document.referrer);
    return { source: source ?? (referrerHost ? 'external' : null), referrerHost: source ? null : referrerHost };
  });
  return origin;
}

function foreignHost(referrer: string): string | null {
  try {
    const { host } = new URL(referrer);
    return host !== '' && host !== window.location.host ? host : null;
  } catch {
    return null;
  }
}
