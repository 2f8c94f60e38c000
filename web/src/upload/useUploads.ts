import { useSyncExternalStore } from 'react';
import { type UploadItem, uploads } from './store';

export function useUploads(): readonly UploadItem[] {
  return useSyncExternalStore(uploads.subscribe, uploads.items);
}
