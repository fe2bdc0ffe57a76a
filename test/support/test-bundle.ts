import path from 'node:path';
import { build } from 'esbuild';

/**
 * Bundles a TypeScript file for a process or thread of its own and returns the bundle's path. It lies where
 * `require('lmdb')` finds the addon that was built for this project.
 */
export async function testBundle(entryPoint: string): Promise<string> {
  const name = path.basename(entryPoint, '.ts');
  const outfile = path.join('node_modules', '.cache', 'test-bundles', `${name}-${process.pid}.cjs`);
  await build({
    entryPoints: [entryPoint],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['lmdb'],
    logLevel: 'silent',
  });
  return path.resolve(outfile);
}
