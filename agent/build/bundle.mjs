// Bundles the agent: the command (dist/lightningstream.cjs, which loads lightningstream-main.cjs) and the thread that does its LMDB work
// (dist/lmdb-worker.cjs). Runs from the root's `postinstall`, so that `npx lightningstream` works at once.
import { chmod, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Both run under every Node from 20 on; CommonJS, because half of the packages inside are. */
const common = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  // lmdb is an addon built on this machine. The SDKs are only read where the storage is S3 or Azure: as part of the bundle it
  // cost every other agent 12 MB of memory (72 against 60 MB for `version`), and loading it is no slower this way (55 ms).
  external: ['lmdb', '@aws-sdk/*', '@smithy/*', '@azure/*'],
  sourcemap: 'linked',
  sourcesContent: false,
  legalComments: 'none',
  logLevel: 'silent',
};

/** The rest of the command is a file of its own, which is loaded once signals are taken. */
const mainApart = {
  name: 'main-apart',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/main\.ts$/ }, () => ({
      path: './lightningstream-main.cjs',
      external: true,
    }));
  },
};

async function main() {
  const { version } = JSON.parse(await readFile(`${root}package.json`, 'utf8'));
  const define = { 'process.env.LIGHTNINGSTREAM_VERSION': JSON.stringify(version) };
  const command = 'dist/lightningstream.cjs';
  await Promise.all([
    build({
      ...common,
      banner: { js: '#!/usr/bin/env node' },
      entryPoints: ['agent/start.ts'],
      plugins: [mainApart],
      outfile: command,
    }),
    build({
      ...common,
      define,
      entryPoints: ['agent/main.ts'],
      outfile: 'dist/lightningstream-main.cjs',
    }),
    build({
      ...common,
      define,
      entryPoints: ['agent/lmdb/thread/worker.ts'],
      outfile: 'dist/lmdb-worker.cjs',
    }),
    build({
      ...common,
      define,
      entryPoints: ['agent/guard/reader-check.ts'],
      outfile: 'dist/lmdb-reader-check.cjs',
    }),
  ]);
  await chmod(`${root}${command}`, 0o755);
}

/** esbuild's errors as lines of "file:line: text"; anything else by its message. */
function describe(error) {
  if (!Array.isArray(error?.errors)) {
    return error instanceof Error ? error.message : String(error);
  }
  return error.errors
    .map(({ location, text }) => (location ? `${location.file}:${location.line}: ${text}` : text))
    .join('; ');
}

main().catch((error) => {
  console.error(`Error: cannot bundle the agent: ${describe(error)}`);
  process.exitCode = 1;
});
