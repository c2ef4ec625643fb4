import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// `npm run dev` answers the pages itself and asks a control API on this machine for all else.
const control = 'http://127.0.0.1:7700';

export default defineConfig({
  base: '/portal/',
  plugins: [react()],
  build: {
    outDir: '../dist',
    emptyOutDir: true,
    // Small files as data: URLs would need an exception in the content security policy.
    assetsInlineLimit: 0,
    // Its polyfill for older browsers is an inline script.
    modulePreload: { polyfill: false },
    target: 'es2022',
    reportCompressedSize: false,
  },
  server: { proxy: { '/api': control, '/portal/config.json': control } },
});
