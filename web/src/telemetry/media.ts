/**
 * Binds a session recorder to a media element. The element's own events tell what happens; the
 * playhead is sampled four times a second besides, as `timeupdate` may come too seldom to know
 * where a seek began.
 */
import type { SessionRecorder } from './recorder';

const SAMPLE_MS = 250;

type FrameMedia = HTMLMediaElement & {
  requestVideoFrameCallback?: (callback: () => void) => number;
  cancelVideoFrameCallback?: (handle: number) => void;
};

/** Returns a function that ends the observation; it reports what was rendered until then. */
export function observeMedia(media: HTMLMediaElement, recorder: SessionRecorder): () => void {
  const frameMedia: FrameMedia = media;
  const position = () => media.currentTime * 1000;
  const firstFrame = () => {
    if (!media.paused) recorder.firstFrame(position());
    else awaitFrame();
  };
  let frame: number | undefined;
  const awaitFrame = () => {
    if (!recorder.started) frame = frameMedia.requestVideoFrameCallback?.(firstFrame);
  };

  const listeners: Partial<Record<keyof HTMLMediaElementEventMap, () => void>> = {
    play: () => recorder.requested(),
    playing: () => {
      // Where frames can't be observed, and for sound alone, "playing" is the first frame.
      if (!frameMedia.requestVideoFrameCallback) recorder.firstFrame(position());
      recorder.playing(position());
    },
    timeupdate: () => {
      if (!media.paused && !media.seeking && media.currentTime > 0) recorder.firstFrame(position());
      sample();
    },
    // At the end the browser pauses by itself; `ended` reports that.
    pause: () => !media.ended && recorder.paused(position()),
    ended: () => recorder.ended(position()),
    seeking: () => recorder.seeking(position()),
    seeked: () => recorder.seeked(position()),
    waiting: () => !media.seeking && recorder.stalled(),
    ratechange: () => recorder.speedChanged(media.playbackRate, position()),
  };

  const sample = () => {
    if (!media.paused && !media.seeking) recorder.tick(position());
  };

  for (const [name, listener] of Object.entries(listeners)) media.addEventListener(name, listener);
  const timer = setInterval(sample, SAMPLE_MS);
  awaitFrame();
  if (!media.paused) recorder.requested();

  return () => {
    clearInterval(timer);
    if (frame !== undefined) frameMedia.cancelVideoFrameCallback?.(frame);
    for (const [name, listener] of Object.entries(listeners)) media.removeEventListener(name, listener);
    recorder.hidden(position());
  };
}
