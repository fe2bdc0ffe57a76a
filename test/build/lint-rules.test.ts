import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const root = join(__dirname, '../..');
const run = promisify(execFile);

/** Who may not import what: the architecture's import rules, as a file and the specifier in it. */
const REFUSED: readonly Case[] = [
  ['protocol/a.ts', 'lmdb'],
  ['protocol/a.ts', 'yaml'],
  ['protocol/a.ts', '@aws-sdk/client-s3'],
  ['protocol/a.ts', 'node:fs/promises'],
  ['protocol/a.ts', './storage/memory.ts'],
  ['protocol/a.ts', '../agent/config/config.ts'],
  ['storage/memory.ts', '@aws-sdk/client-s3'],
  ['storage/memory.ts', '../../agent/config/config.ts'],
  ['storage/memory.ts', '@azure/storage-blob'],
  ['storage/s3/store.ts', '@azure/storage-blob'],
  ['storage/azure/store.ts', '@aws-sdk/client-s3'],
  ['storage/azure/store.ts', 'pino'],
  ['storage/azure/store.ts', '../../agent/config/config.ts'],
  ['storage/http/connections.ts', 'https-proxy-agent'],
  ['storage/http/proxy-agents.ts', '@aws-sdk/client-s3'],
  ['storage/http/proxy-agents.ts', 'yaml'],
  ['storage/s3/store.ts', 'pino'],
  ['storage/s3/store.ts', '../../agent/config/config.ts'],
  ['agent/a.ts', '../lambdas/shared.ts'],
  ['agent/a.ts', '../test/support/x.ts'],
  ['agent/a.ts', '@aws-sdk/client-sqs'],
  ['agent/a.ts', '@azure/identity'],
  ['agent/lmdb/apply.ts', 'lmdb'],
  ['agent/lmdb/environment.ts', '@aws-sdk/client-s3'],
  ['agent/notices/watch.ts', 'lmdb'],
  ['lambdas/compaction/plan.ts', '../../agent/config/config.ts'],
  ['lambdas/compaction/plan.ts', '@aws-sdk/client-s3'],
  ['lambdas/compaction/handler.ts', 'lmdb'],
  ['lambdas/compaction/handler.ts', '@azure/storage-blob'],
  ['lambdas/compaction/handler.ts', '../../storage/azure/store.ts'],
  ['infra/app.ts', '../lambdas/compaction/plan.ts'],
  ['infra/app.ts', '../agent/config/config.ts'],
  ['test/a.ts', './b.test.ts'],
  ['agent/b.ts', './lmdb/index.ts'],
];

const ALLOWED: readonly Case[] = [
  ['protocol/a.ts', 'node:assert'],
  ['protocol/a.ts', 'zod'],
  ['protocol/a.ts', './errors.ts'],
  ['storage/folder/store.ts', 'node:fs/promises'],
  ['storage/s3/store.ts', '@aws-sdk/client-s3'],
  ['storage/s3/store.ts', '@smithy/node-http-handler'],
  ['storage/azure/store.ts', '@azure/identity'],
  ['storage/http/proxy-agents.ts', 'https-proxy-agent'],
  ['agent/a.ts', '../protocol/errors.ts'],
  ['agent/a.ts', 'yaml'],
  ['agent/lmdb/environment.ts', 'lmdb'],
  ['agent/notices/watch.ts', '@aws-sdk/client-sqs'],
  ['lambdas/compaction/handler.ts', '@aws-sdk/client-s3'],
  ['infra/app.ts', '../lambdas/compaction/env.ts'],
  ['test/a.ts', 'lmdb'],
];

type Case = readonly [file: string, specifier: string];
type Diagnostic = {
  readonly code?: string;
  readonly filename: string;
  readonly labels: readonly { readonly span: { readonly line: number } }[];
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lint-rules-'));
  await copyFile(join(root, '.oxlintrc.json'), join(folder, '.oxlintrc.json'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Writes the files (one import per line) and lints them with the project's own configuration. */
async function lint(files: ReadonlyMap<string, readonly string[]>): Promise<readonly Diagnostic[]> {
  for (const [file, lines] of files) {
    await mkdir(dirname(join(folder, file)), { recursive: true });
    await writeFile(join(folder, file), `${lines.join('\n')}\n`);
  }
  const command = join(root, 'node_modules/.bin/oxlint');
  const { stdout } = await run(command, ['--format', 'json', '.'], { cwd: folder }).catch(
    (error: { stdout: string }) => error,
  );
  return (JSON.parse(stdout) as { diagnostics: Diagnostic[] }).diagnostics;
}

const byText = (a: string, b: string): number => a.localeCompare(b);

function importsPerFile(cases: readonly Case[]): Map<string, string[]> {
  const files = new Map<string, string[]>();
  for (const [file, specifier] of cases) {
    const lines = files.get(file) ?? [];
    lines.push(`export { value as value${lines.length} } from '${specifier}';`);
    files.set(file, lines);
  }
  return files;
}

test('an import against the direction of the architecture is refused, every other one is not', async () => {
  const files = importsPerFile([...REFUSED, ...ALLOWED]);
  const refused = (await lint(files))
    .filter(({ code }) => code?.includes('no-restricted-imports'))
    .map(({ filename, labels }) => files.get(filename)?.[(labels[0]?.span.line ?? 0) - 1])
    .map((line) => /'(.*)'/.exec(line ?? '')?.[1] ?? 'no import there');
  expect(refused.toSorted(byText)).toEqual(
    REFUSED.map(([, specifier]) => specifier).toSorted(byText),
  );
});

test('a cycle, a default export and process.exit are refused', async () => {
  const codes = (
    await lint(
      new Map([
        ['agent/one.ts', ["export { two } from './two.ts';", 'export const one = 1;']],
        ['agent/two.ts', ["export { one } from './one.ts';", 'export const two = 2;']],
        ['agent/three.ts', ['export default 3;']],
        ['agent/four.ts', ['process.exit(4);']],
        ['agent/main.ts', ['process.exit(5);']],
      ]),
    )
  )
    .filter(({ filename }) => /(one|two|three|four|main)\.ts$/.test(filename))
    .map(({ code, filename }) => `${filename} ${code}`)
    .toSorted(byText);
  expect(codes).toEqual([
    'agent/four.ts unicorn(no-process-exit)',
    'agent/one.ts import(no-cycle)',
    'agent/three.ts import(no-default-export)',
    'agent/two.ts import(no-cycle)',
  ]);
});
