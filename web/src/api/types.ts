/** What the server's HTTP API sends and takes. Times are RFC 3339 text, durations milliseconds. */

export type Visibility = 'public' | 'unlisted' | 'private';
export type UploadState = 'receiving' | 'complete' | 'aborted';
export type PlaybackState = 'none' | 'playable' | 'ready' | 'failed';

export interface Instance {
  name: string;
  sign_up: 'open' | 'invitation' | 'closed';
  max_upload_bytes: number;
  version: string;
}

export interface Channel {
  id: string;
  handle: string;
  name: string;
}

export interface Me {
  account_id: string;
  login: string;
  is_admin: boolean;
  channel: Channel;
}

export interface NewAccount {
  login: string;
  password: string;
  handle: string;
  name: string;
  invitation?: string;
}

export interface Credentials {
  login: string;
  password: string;
}

export interface Counters {
  starts: number;
  views: number;
  engaged_views: number;
  watch_ms: number;
}

export interface VideoCard {
  id: string;
  title: string;
  channel: Channel;
  duration_ms: number | null;
  published_at: string | null;
  created_at: string;
  poster_url: string | null;
  counters: Counters;
  visibility: Visibility;
  upload_state: UploadState;
  playback_state: PlaybackState;
  version: number;
}

export interface RelatedCard extends VideoCard {
  reason: 'watched_together' | 'similar_text';
}

export interface Rendition {
  name: string;
  kind: 'video' | 'audio';
  codecs: string;
  width: number | null;
  height: number | null;
  frame_rate: number | null;
  bandwidth: number;
  segments: number;
  complete: boolean;
}

export interface SourceMedia {
  format: string | null;
  duration: number | null;
  video_codec: string | null;
  audio_codec: string | null;
  width: number | null;
  height: number | null;
  frame_rate: number | null;
}

export interface Video extends VideoCard {
  description: string;
  tags: string[];
  owned: boolean;
  progress_percent: number;
  failure: string | null;
  hls_url: string | null;
  renditions: Rendition[];
  source: SourceMedia | null;
}

export interface VideoEdit {
  title?: string;
  description?: string;
  tags?: string[];
  visibility?: Visibility;
  expected_version?: number;
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export interface SearchPage extends Page<VideoCard> {
  total: number;
}

export interface PlaybackSession {
  session_id: string;
  grant: string;
  expires_at: string;
  heartbeat_ms: number;
  telemetry_url: string;
  hls_url: string;
}

export interface LiveState {
  upload_state: UploadState;
  playback_state: PlaybackState;
  progress_percent: number;
  failure: string | null;
}

export interface HourFigures {
  hour: string;
  starts: number;
  views: number;
  engaged_views: number;
  watch_ms: number;
}

export interface RetentionPoint {
  watched_ratio: number;
  viewers_ratio: number;
}

export interface VideoStats {
  video_id: string;
  counters: Counters;
  /** Hours with nothing in them are left out. */
  hours: HourFigures[];
  retention: { duration_ms: number; points: RetentionPoint[] } | null;
  rule_version: number;
  as_of: { generated_at: string; offsets: Record<string, number> };
}

export interface UnfinishedUpload {
  id: string;
  video_id: string;
  file_name: string;
  length: number;
  offset: number;
  created_at: string;
  expires_at: string;
}

export interface ApiToken {
  id: string;
  label: string;
  created_at: string;
  expires_at: string | null;
}

export interface NewApiToken {
  id: string;
  label: string;
  created_at: string;
  /** Shown this once. */
  token: string;
}

export interface Invitation {
  code: string;
  expires_at: string;
}
