// One bench file in a process of its own, so that none meets the heap that another one left behind.
import { pathToFileURL } from 'node:url';
import type { Bench, BenchOptions } from './row.ts';

const [file = '', options = '{}'] = process.argv.slice(2);

// What test/support offers is written for jest, as CommonJS; this folder lies as deep as that one.
Object.assign(globalThis, { __dirname: import.meta.dirname });

async function main(): Promise<void> {
  const { run } = (await import(pathToFileURL(file).href)) as { run: Bench };
  process.send?.(await run(JSON.parse(options) as BenchOptions));
  process.disconnect();
}

void main();
