/**
 * A video's server-sent events. The connection is open only while the page is visible, since a
 * browser allows few connections to one server over HTTP/1.1 and every tab would hold one.
 */
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef } from 'react';
import { api } from './client';
import { applyCounters, applyState, forgetVideo } from './queries';
import type { Counters, LiveState } from './types';

export interface LiveHandlers {
  onState?: (state: LiveState) => void;
  onCounters?: (counters: Counters) => void;
  onDeleted?: () => void;
}

const FIRST_RETRY_MS = 2_000;
const LAST_RETRY_MS = 30_000;

/** Follows one video until the returned function is called. */
export function followVideo(id: string, handlers: LiveHandlers): () => void {
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let wait = FIRST_RETRY_MS;

  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    if (document.visibilityState === 'hidden') return;
    const stream = new EventSource(api.eventsUrl(id));
    source = stream;
    stream.addEventListener('state', event => {
      wait = FIRST_RETRY_MS;
      handlers.onState?.(JSON.parse(event.data) as LiveState);
    });
    stream.addEventListener('counters', event => handlers.onCounters?.(JSON.parse(event.data) as Counters));
    stream.addEventListener('deleted', () => {
      stop();
      handlers.onDeleted?.();
    });
    stream.addEventListener('error', () => {
      // The browser reconnects by itself after a cut, but gives up on an error status.
      if (stream.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(open, wait);
      wait = Math.min(LAST_RETRY_MS, wait * 2);
    });
  };
  const stop = () => {
    document.removeEventListener('visibilitychange', open);
    close();
  };

  document.addEventListener('visibilitychange', open);
  open();
  return stop;
}

/** Keeps the cached video up to date while `enabled`. */
export function useLiveVideo(id: string, enabled: boolean, handlers: LiveHandlers = {}): void {
  const client = useQueryClient();
  const latest = useRef(handlers);
  useEffect(() => {
    latest.current = handlers;
  });
  useEffect(() => {
    if (!enabled) return;
    let known = '';
    return followVideo(id, {
      onState: state => {
        applyState(client, id, state);
        const now = `${state.upload_state}/${state.playback_state}`;
        // The event tells the state alone; poster, duration and address come with the video.
        if (known !== '' && known !== now) void client.invalidateQueries({ queryKey: ['video', id] });
        known = now;
        latest.current.onState?.(state);
      },
      onCounters: counters => {
        applyCounters(client, id, counters);
        latest.current.onCounters?.(counters);
      },
      onDeleted: () => {
        if (latest.current.onDeleted) latest.current.onDeleted();
        else forgetVideo(client, id);
      },
    });
  }, [client, id, enabled]);
}
