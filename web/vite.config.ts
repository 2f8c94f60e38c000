import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

// In development the app runs on Vite's own port and passes what belongs to the server on to it.
const server = process.env.MILLRACE_URL ?? 'http://127.0.0.1:8080';
const proxied = ['/api', '/media', '/uploads', '/healthz', '/readyz', '/metrics'];

export default defineConfig({
  plugins: [react()],
  build: { target: ['chrome111', 'firefox114', 'safari16.4'], assetsInlineLimit: 0, chunkSizeWarningLimit: 700 },
  server: { proxy: Object.fromEntries(proxied.map(path => [path, { target: server, changeOrigin: false }])) },
  test: {
    environment: 'jsdom',
    setupFiles: ['src/test/setup.ts'],
    restoreMocks: true,
    css: false,
  },
});
