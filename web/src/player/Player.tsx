/**
 * The video player: HLS playback under controls of its own, all of them reachable by keyboard. The
 * caller gets the media element, for telemetry, and hears which rendition is shown and what fails.
 */
import { ActionIcon, Button, Loader, Stack, Text, VisuallyHidden } from '@mantine/core';
import { IconAlertTriangle, IconPlayerPlayFilled, IconRefresh, IconRotate } from '@tabler/icons-react';
import { type RefObject, useCallback, useEffect, useRef, useState } from 'react';
import { readSetting, writeSetting } from '../lib/stored';
import { Controls } from './Controls';
import classes from './Player.module.css';
import { actionFor, type PlayerAction, targetKind } from './shortcuts';
import { SPEEDS } from './speeds';
import { type Quality, useHls } from './useHls';
import { useMediaState } from './useMediaState';

interface PlayerProps {
  media: RefObject<HTMLVideoElement | null>;
  /** Null until it is known; nothing is loaded then. */
  src: string | null;
  title: string;
  poster: string | null;
  /** As the server knows it; the player's own may still grow while the video is being made. */
  durationMs: number | null;
  autoPlay: boolean;
  onRendition: (quality: Quality) => void;
  onFailure: (code: string) => void;
}

const HIDE_AFTER_MS = 2_600;

export function Player({ media, src, title, poster, durationMs, autoPlay, onRendition, onFailure }: PlayerProps) {
  const frame = useRef<HTMLElement>(null);
  const hls = useHls(media, src, autoPlay);
  const state = useMediaState(media);
  const [said, setSaid] = useState('');
  const { active, stir } = useActivity(state.paused);
  const duration = Math.max(state.duration, durationMs === null ? 0 : durationMs / 1000);

  useEffect(() => {
    if (hls.shown) onRendition(hls.shown);
  }, [hls.shown, onRendition]);
  useEffect(() => {
    if (hls.failure) onFailure(hls.failure);
  }, [hls.failure, onFailure]);
  useRememberedVolume(media);

  const act = useCallback(
    (action: PlayerAction) => {
      const element = media.current;
      if (!element) return;
      stir();
      const message = perform(action, element, frame.current, duration);
      if (message) setSaid(message);
    },
    [media, stir, duration],
  );

  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const element = event.target instanceof Element ? event.target : null;
      const target = targetKind(element);
      if (event.defaultPrevented || target === null) return;
      const inPlayer = frame.current?.contains(element) ?? false;
      const modified = event.ctrlKey || event.altKey || event.metaKey;
      const action = actionFor({ key: event.key, modified, inPlayer, target });
      if (!action) return;
      event.preventDefault();
      act(action);
    };
    document.addEventListener('keydown', press);
    return () => document.removeEventListener('keydown', press);
  }, [act]);

  const busy = src === null || (state.waiting && !state.paused);
  return (
    <section
      ref={frame}
      className={classes.frame}
      aria-label={`Video player: ${title}`}
      data-active={active || undefined}
      data-player-error={hls.failure ?? undefined}
      onPointerMove={stir}
      onFocus={stir}
    >
      {/* biome-ignore lint/a11y/useMediaCaption: captions are not made yet */}
      <video
        ref={media}
        className={classes.video}
        poster={poster ?? undefined}
        playsInline
        preload="auto"
        tabIndex={-1}
        onClick={() => act({ do: 'toggle' })}
        onDoubleClick={() => act({ do: 'fullscreen' })}
      />
      <VisuallyHidden role="status">{said}</VisuallyHidden>
      {hls.failure ? (
        <Failure code={hls.failure} onRetry={hls.retry} />
      ) : (
        <>
          {busy && <Loader className={classes.busy} color="white" size="lg" aria-label="Loading" />}
          {state.paused && src !== null && (!state.begun || state.ended) && (
            <ActionIcon
              className={classes.big}
              variant="filled"
              size={76}
              radius="xl"
              aria-label={state.ended ? 'Watch again' : 'Play video'}
              onClick={() => act({ do: 'toggle' })}
            >
              {state.ended ? <IconRotate size={34} /> : <IconPlayerPlayFilled size={34} />}
            </ActionIcon>
          )}
          <Controls state={state} duration={duration} hls={hls} act={act} media={media} frame={frame} />
        </>
      )}
    </section>
  );
}

function Failure({ code, onRetry }: { code: string; onRetry: () => void }) {
  return (
    <Stack className={classes.failure} role="alert" align="center" justify="center" gap="sm">
      <IconAlertTriangle size={40} aria-hidden />
      <Text fw={600}>
        {code === 'unsupported' ? 'This browser can’t play the video' : 'The video can’t be played right now'}
      </Text>
      <Text size="xs" opacity={0.75}>
        {code}
      </Text>
      <Button variant="white" color="dark" leftSection={<IconRefresh size={16} />} onClick={onRetry}>
        Try again
      </Button>
    </Stack>
  );
}

/** Does what was asked; returns what to tell those who can't see it. */
function perform(
  action: PlayerAction,
  media: HTMLVideoElement,
  frame: HTMLElement | null,
  duration: number,
): string | null {
  switch (action.do) {
    case 'toggle':
      if (media.paused) media.play().catch(() => undefined);
      else media.pause();
      return media.paused ? 'Paused' : 'Playing';
    case 'seekBy':
      media.currentTime = within(media.currentTime + action.seconds, 0, seekableEnd(media, duration));
      return null;
    case 'seekToPart':
      media.currentTime = within(duration * action.part, 0, seekableEnd(media, duration));
      return null;
    case 'volumeBy':
      media.volume = within(Math.round((media.volume + action.step) * 100) / 100, 0, 1);
      media.muted = media.volume === 0;
      return `Volume ${Math.round(media.volume * 100)} percent`;
    case 'mute':
      media.muted = !media.muted;
      return media.muted ? 'Muted' : 'Sound on';
    case 'speedBy': {
      const at = SPEEDS.indexOf(media.playbackRate);
      media.playbackRate = SPEEDS[within((at < 0 ? SPEEDS.indexOf(1) : at) + action.steps, 0, SPEEDS.length - 1)] ?? 1;
      return `Speed ${media.playbackRate}`;
    }
    case 'fullscreen':
      toggleFullscreen(media, frame);
      return null;
  }
}

function toggleFullscreen(media: HTMLVideoElement, frame: HTMLElement | null): void {
  if (document.fullscreenElement) {
    document.exitFullscreen().catch(() => undefined);
  } else if (frame?.requestFullscreen) {
    frame.requestFullscreen().catch(() => undefined);
  } else {
    // Phones by Apple give full screen to the video alone.
    (media as HTMLVideoElement & { webkitEnterFullscreen?: () => void }).webkitEnterFullscreen?.();
  }
}

/** How far one can seek now; a video still in the making ends earlier than it will. */
export function seekableEnd(media: HTMLMediaElement, duration: number): number {
  const { seekable } = media;
  return seekable.length > 0
    ? Math.min(seekable.end(seekable.length - 1), duration || Number.POSITIVE_INFINITY)
    : duration;
}

function within(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}

/** True while the controls should be seen: paused, or shortly after the viewer stirred. */
function useActivity(paused: boolean): { active: boolean; stir: () => void } {
  const [stirred, setStirred] = useState(true);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const stir = useCallback(() => {
    setStirred(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setStirred(false), HIDE_AFTER_MS);
  }, []);
  useEffect(() => {
    stir();
    return () => clearTimeout(timer.current);
  }, [stir]);
  return { active: stirred || paused, stir };
}

function useRememberedVolume(media: RefObject<HTMLVideoElement | null>): void {
  useEffect(() => {
    const element = media.current;
    if (!element) return;
    const volume = Number.parseFloat(readSetting('volume') ?? '1');
    element.volume = Number.isFinite(volume) ? within(volume, 0, 1) : 1;
    element.muted = readSetting('muted') === 'true';
    const remember = () => {
      writeSetting('volume', String(element.volume));
      writeSetting('muted', String(element.muted));
    };
    element.addEventListener('volumechange', remember);
    return () => element.removeEventListener('volumechange', remember);
  }, [media]);
}
