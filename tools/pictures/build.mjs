import { build } from 'esbuild';
await build({
  entryPoints: ['board.jsx'], bundle: true, outfile: 'dist/board.js', format: 'iife', jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' }, loader: { '.png': 'dataurl', '.svg': 'dataurl', '.ttf': 'dataurl', '.woff2': 'dataurl' },
  logLevel: 'error', minify: false,
});
