/**
 * Playback telemetry for any page with a media element: what was really rendered, numbered and
 * delivered until acknowledged. It depends on nothing but the browser.
 *
 *     const telemetry = startTelemetry(videoElement, { url, session, durationMs, source: 'home' });
 *     telemetry.renditionChanged('720p', 2400);
 *     telemetry.stop();
 */
import type { SessionHeader, WatchSource } from './contract';
import { browserEnvironment, Delivery, type DeliveryEnvironment } from './delivery';
import { observeMedia } from './media';
import { SessionRecorder } from './recorder';

export {
  type EventKind,
  type TelemetryBatch,
  type TelemetryEvent,
  viewThresholdMs,
  type WatchSource,
} from './contract';
export { recoverPending } from './delivery';

export interface TelemetryOptions {
  /** Where batches go. */
  url: string;
  sessionId: string;
  videoId: string;
  /** As the server gave it with the session. */
  grant: string | null;
  durationMs: number | null;
  heartbeatMs?: number;
  source?: WatchSource | null;
  referrerHost?: string | null;
  experiment?: string | null;
  player?: string;
  environment?: DeliveryEnvironment;
}

export interface Telemetry {
  /** The player shows another rendition. */
  renditionChanged(rendition: string, bitrateKbps?: number): void;
  /** Playback failed for good; `code` is the player's own. */
  failed(code: string): void;
  /** Ends the session: reports what is open and delivers it in the background. */
  stop(): void;
}

/** Observes `media` from now on, as one session. */
export function startTelemetry(media: HTMLMediaElement, options: TelemetryOptions): Telemetry {
  const environment = options.environment ?? browserEnvironment();
  const header: SessionHeader = {
    session_id: options.sessionId,
    video_id: options.videoId,
    grant: options.grant,
    source: options.source ?? null,
    referrer_host: options.referrerHost ?? null,
    experiment: options.experiment ?? null,
    player: options.player ?? 'millrace-web/0.1',
  };
  const delivery = new Delivery(options.url, header, environment);
  const recorder = new SessionRecorder(
    {
      clock: environment.clock,
      durationMs: options.durationMs,
      heartbeatMs: options.heartbeatMs ?? 10_000,
      droppedFrames: () => droppedFrames(media),
    },
    (event, prompt) => delivery.push(event, prompt),
  );
  const stopObserving = observeMedia(media, recorder);

  const leave = () => {
    recorder.hidden(media.currentTime * 1000);
    delivery.beacon();
  };
  const visibility = () => document.visibilityState === 'hidden' && leave();
  document.addEventListener('visibilitychange', visibility);
  window.addEventListener('pagehide', leave);

  return {
    renditionChanged: (rendition, bitrateKbps) => recorder.renditionChanged(rendition, bitrateKbps),
    failed: code => recorder.failed(code),
    stop: () => {
      document.removeEventListener('visibilitychange', visibility);
      window.removeEventListener('pagehide', leave);
      stopObserving();
      delivery.flush();
    },
  };
}

function droppedFrames(media: HTMLMediaElement): number | null {
  return media instanceof HTMLVideoElement && 'getVideoPlaybackQuality' in media
    ? media.getVideoPlaybackQuality().droppedVideoFrames
    : null;
}
