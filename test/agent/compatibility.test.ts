import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { buildProgram } from '../../agent/cli/cli.ts';
import { CONFIG_FIELDS } from '../../agent/config/table.ts';
import type { AnyField } from '../../agent/config/fields.ts';
import { AZURE_FIELDS, FS_FIELDS, S3_FIELDS } from '../../agent/config/storage-table.ts';
import { DATABASE_CHECKS } from '../../agent/monitor/health.ts';
import { Metrics } from '../../agent/monitor/metrics.ts';
import { databaseStatus, statusSource } from '../support/status.ts';

const DOCS = join(__dirname, '../../docs');
const read = (file: string) => readFileSync(join(DOCS, file), 'utf8');
const PAGE = read('compatibility.md');
/** What stands in code font on the page. */
const NAMED = new Set(Array.from(PAGE.matchAll(/`([^`]+)`/g), ([, name = '']) => name));

type Row = { readonly what: string; readonly verdict: string; readonly tests: string };

function rows(): Row[] {
  return PAGE.split('\n')
    .filter((line) => line.startsWith('| ') && !line.endsWith('| held by |'))
    .map((line) => {
      const [, what = '', verdict = '', , tests = ''] = line.split(/(?<!\\)\|/);
      return { what: what.trim(), verdict: verdict.trim(), tests: tests.trim() };
    });
}

test('every row has a verdict; what is the same or better is held by a test', () => {
  expect(rows().length).toBeGreaterThan(300);
  for (const { what, verdict, tests } of rows()) {
    expect([what, verdict]).toEqual([what, expect.stringMatching(/^(same|better|refused|ours)$/)]);
    const needsNoTest = verdict === 'refused' || UNTESTED.has(what);
    expect([what, needsNoTest || tests.includes('](../test/')]).toEqual([what, true]);
  }
});

/** Facts about the world or about this repository, which no test of the agent can hold. */
const UNTESTED = new Set([
  'demo',
  'one kernel, one file, no network file system',
  'not in upstream: encryption, TLS or authentication on HTTP, reload, per-database storage',
  'GET cheaper than LIST',
]);

function keysOf(fields: object, prefix = ''): string[] {
  return Object.values(fields as Record<string, AnyField>).flatMap((field) => {
    const key = `${prefix}${field.key}`;
    if (field.node === 'section') {
      return keysOf(field.fields, `${key}.`);
    }
    if (field.node === 'map') {
      return keysOf(field.fields, `${key}.<${field.keyName}>.`);
    }
    return [key];
  });
}

test.each([
  ['of the configuration', CONFIG_FIELDS],
  ['of the storage fs', FS_FIELDS],
  ['of the storage s3', S3_FIELDS],
  ['of the storage azure', AZURE_FIELDS],
])('every key %s is on the page', (_what, fields) => {
  expect(keysOf(fields).filter((key) => !NAMED.has(key))).toEqual([]);
});

function commandsOf(command: Command): string[] {
  return command.commands.flatMap((sub) => [
    ...sub.options.flatMap(({ long, short }) => [long ?? '', short ?? '']),
    // A command that only holds others is in their names.
    ...(sub.commands.length > 0
      ? sub.commands.flatMap((leaf) => [
          `${sub.name()} ${leaf.name()}`,
          ...leaf.options.flatMap(({ long, short }) => [long ?? '', short ?? '']),
        ])
      : [sub.name()]),
  ]);
}

test('every command and flag is on the page', () => {
  const nowhere = { write: () => true };
  const deps = { stdout: nowhere, stderr: nowhere } as unknown as Parameters<
    typeof buildProgram
  >[0];
  const program = buildProgram(deps, async () => undefined);
  const names = [
    ...commandsOf(program),
    ...program.options.flatMap(({ long, short }) => [long ?? '', short ?? '']),
  ].filter((name) => name !== '');
  expect(names.length).toBeGreaterThan(20);
  expect(names.filter((name) => !NAMED.has(name))).toEqual([]);
});

test('every metric is on the page', async () => {
  const metrics = new Metrics({
    status: statusSource(databaseStatus()),
    storageType: 's3',
    smaps: async () => new Map(),
    processMetrics: false,
  });
  const names = (await metrics.registry.getMetricsAsJSON()).map(({ name }) => name);
  expect(names.length).toBeGreaterThan(60);
  expect(names.filter((name) => !NAMED.has(name))).toEqual([]);
});

test('every condition of /healthz is on the page, and has a section in the runbook', () => {
  const names = [...DATABASE_CHECKS.map((name) => `<db>_${name}`), 'notices_failed_duration'];
  expect(names.length).toBeGreaterThan(20);
  const runbook = read('runbook.md');
  for (const name of names) {
    expect([name, NAMED.has(name)]).toEqual([name, true]);
    expect([name, runbook.includes(`\`${name}\``)]).toEqual([name, true]);
  }
});
