/**
 * The uploads of this tab. They live outside of React so that they go on while one looks at other
 * pages. Each file is sent by tus: after a cut connection it goes on by itself, after a reload when
 * the same file is chosen again, on another device as well.
 */
import { DetailedError, Upload } from 'tus-js-client';
import { api } from '../api/client';
import { Problem } from '../api/problem';
import type { UnfinishedUpload, Visibility } from '../api/types';

export type UploadPhase = 'draft' | 'starting' | 'sending' | 'paused' | 'failed' | 'sent';

export interface UploadDetails {
  title: string;
  description: string;
  tags: string[];
  visibility: Visibility;
}

export interface UploadItem {
  key: string;
  file: File;
  details: UploadDetails;
  phase: UploadPhase;
  sentBytes: number;
  /** Bytes a second over the last seconds, null while unknown. */
  speed: number | null;
  /** Known when the server has made the upload. */
  uploadId: string | null;
  videoId: string | null;
  problem: Problem | null;
}

const ENDPOINT = '/uploads';
/** Also the most that is sent again after a connection that was cut without the server noticing. */
const CHUNK_BYTES = 16 * 1024 * 1024;
const RETRY_DELAYS_MS = [0, 1_000, 3_000, 5_000, 10_000, 20_000, 30_000, 60_000];
const SPEED_WINDOW_MS = 4_000;

class UploadStore {
  #items: readonly UploadItem[] = [];
  #running = new Map<string, Upload>();
  #samples = new Map<string, { at: number; bytes: number }[]>();
  #listeners = new Set<() => void>();
  #next = 1;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly items = (): readonly UploadItem[] => this.#items;

  /** Adds a file as a draft; nothing is sent until `start`. */
  add(file: File, resumed?: UnfinishedUpload): string {
    const key = String(this.#next++);
    const details: UploadDetails = { title: titleOf(file.name), description: '', tags: [], visibility: 'public' };
    const item: UploadItem = {
      key,
      file,
      details,
      phase: 'draft',
      sentBytes: resumed?.offset ?? 0,
      speed: null,
      uploadId: resumed?.id ?? null,
      videoId: resumed?.video_id ?? null,
      problem: null,
    };
    this.#items = [...this.#items, item];
    this.#tell();
    return key;
  }

  describe(key: string, details: Partial<UploadDetails>): void {
    this.#change(key, item => ({ ...item, details: { ...item.details, ...details } }));
  }

  async start(key: string): Promise<void> {
    const item = this.#find(key);
    if (!item || item.phase === 'sending' || item.phase === 'starting' || item.phase === 'sent') return;
    this.#change(key, before => ({ ...before, phase: 'starting', problem: null }));
    const running = this.#running.get(key);
    if (running) {
      running.start();
      return;
    }
    const upload = this.#make(key, item);
    this.#running.set(key, upload);
    if (!item.uploadId) {
      // The browser remembers uploads it began; a file chosen again after a reload goes on.
      const [previous] = await upload.findPreviousUploads();
      if (previous?.uploadUrl) {
        upload.resumeFromPreviousUpload(previous);
        const videoId = await videoOf(previous.uploadUrl);
        this.#change(key, before => ({ ...before, videoId }));
      }
    }
    if (this.#find(key)?.phase === 'starting') upload.start();
  }

  async pause(key: string): Promise<void> {
    this.#change(key, item => ({ ...item, phase: 'paused', speed: null }));
    await this.#running.get(key)?.abort();
  }

  /** Takes an item off the list; what was sent of it is deleted on the server unless it arrived whole. */
  async remove(key: string): Promise<void> {
    const item = this.#find(key);
    const upload = this.#running.get(key);
    this.#running.delete(key);
    this.#samples.delete(key);
    this.#items = this.#items.filter(other => other.key !== key);
    this.#tell();
    if (item && upload && item.phase !== 'sent') await upload.abort(upload.url !== null);
  }

  #make(key: string, { file, details, uploadId }: UploadItem): Upload {
    return new Upload(file, {
      endpoint: ENDPOINT,
      uploadUrl: uploadId ? `${ENDPOINT}/${encodeURIComponent(uploadId)}` : undefined,
      chunkSize: CHUNK_BYTES,
      retryDelays: RETRY_DELAYS_MS,
      removeFingerprintOnSuccess: true,
      metadata: {
        filename: file.name,
        filetype: file.type,
        title: details.title.trim(),
        description: details.description.trim(),
        tags: details.tags.join(','),
        visibility: details.visibility,
      },
      onAfterResponse: (_, reply) => {
        const videoId = reply.getHeader('Millrace-Video-Id');
        if (videoId) this.#change(key, item => ({ ...item, videoId }));
      },
      onUploadUrlAvailable: () => {
        const id = this.#running.get(key)?.url?.split('/').pop() ?? null;
        this.#change(key, item => ({
          ...item,
          uploadId: id,
          phase: item.phase === 'starting' ? 'sending' : item.phase,
        }));
      },
      onProgress: sent => {
        this.#change(key, item => ({
          ...item,
          phase: item.phase === 'paused' ? 'paused' : 'sending',
          sentBytes: sent,
          speed: this.#speed(key, sent),
        }));
      },
      onShouldRetry: error => {
        const status = error.originalResponse?.getStatus() ?? 0;
        // 409 and 423: another request of this upload is just ending; asking for the offset again settles it.
        return status === 0 || status === 409 || status === 423 || status === 429 || status >= 500;
      },
      onSuccess: () => {
        this.#change(key, item => ({ ...item, phase: 'sent', sentBytes: file.size, speed: null }));
      },
      onError: error => {
        this.#running.delete(key);
        this.#change(key, item => ({ ...item, phase: 'failed', speed: null, problem: uploadProblem(error) }));
      },
    });
  }

  #speed(key: string, bytes: number): number | null {
    const now = performance.now();
    const samples = (this.#samples.get(key) ?? []).filter(sample => now - sample.at < SPEED_WINDOW_MS);
    samples.push({ at: now, bytes });
    this.#samples.set(key, samples);
    const [first] = samples;
    return first && now - first.at > 500 ? Math.max(0, ((bytes - first.bytes) / (now - first.at)) * 1000) : null;
  }

  #find(key: string): UploadItem | undefined {
    return this.#items.find(item => item.key === key);
  }

  #change(key: string, change: (item: UploadItem) => UploadItem): void {
    this.#items = this.#items.map(item => (item.key === key ? change(item) : item));
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

export const uploads = new UploadStore();

/** The video that an unfinished upload makes; null if the server doesn't say. */
async function videoOf(uploadUrl: string): Promise<string | null> {
  const id = uploadUrl.split('/').pop();
  const { items } = await api.uploads().catch(() => ({ items: [] }));
  return items.find(upload => upload.id === id)?.video_id ?? null;
}

/** `2024-05_old-mill.final.mp4` becomes `2024 05 old mill.final`. */
export function titleOf(fileName: string): string {
  const words = fileName
    .replace(/\.[A-Za-z0-9]{1,5}$/, '')
    .replace(/[_-]+/g, ' ')
    .trim();
  const title = words.charAt(0).toUpperCase() + words.slice(1);
  return title.slice(0, 120) || 'Untitled';
}

/** What tus reports, as the problem document that the server sent, where it sent one. */
export function uploadProblem(error: Error | DetailedError): Problem {
  const reply = error instanceof DetailedError ? error.originalResponse : null;
  if (!reply) {
    return new Problem(0, {
      title: 'The upload was cut',
      detail: 'The server can’t be reached. What was sent is kept.',
    });
  }
  try {
    return new Problem(reply.getStatus(), JSON.parse(reply.getBody()) as object);
  } catch {
    return new Problem(reply.getStatus(), { title: 'The upload was refused' });
  }
}
