import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { brokenRules, ROOM_FILES_MAX } from './check-rooms.ts';
import { KEPT, PURE, type Room, ROOMS } from './rooms.ts';

const root = join(__dirname, '../..');
const SOURCE_FOLDERS =
  'protocol storage compaction agent lambdas infra demo deploy bench test'.split(' ');

/** All sources of the project; fixtures are data. */
function sources(): Map<string, string> {
  const files = SOURCE_FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.[cm]?ts$|\.[cm]js$/.test(entry.name))
      .map((entry) => relative(root, join(entry.parentPath, entry.name)))
      .filter((file) => !file.startsWith('test/fixtures/')),
  );
  return new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]));
}

test('every import goes down to a room that the table names, and no room is overfull', () => {
  expect(brokenRules({ files: sources(), rooms: ROOMS, kept: KEPT, pure: PURE })).toEqual([]);
});

describe('a made-up tree of two rooms', () => {
  const rooms: readonly Room[] = [
    ['low', '', 'node:util zod @scope/*'],
    ['middle', '', 'lmdb'],
    ['high', 'low', 'node:*'],
    ['high/main.ts', 'low high', ''],
    ['test/**', '*', '*'],
  ];
  const base = {
    'low/a.ts': "import { b } from './b.ts';",
    'low/b.ts': "import 'zod/v4'; import 'node:util'; import '@scope/x/y';",
    'middle/environment.ts': "import 'lmdb';",
    'high/a.ts': "import type { A } from '../low/a.ts'; import 'node:fs/promises';",
    'high/main.ts': "import './a.ts';",
    'test/deep/a.test.ts': "import '../../high/main.ts'; import 'lmdb';",
  };
  const kept = [[/^lmdb$/, /^middle\/environment\.ts$/]] as const;
  const broken = (files: Record<string, string>) =>
    brokenRules({
      files: new Map(Object.entries({ ...base, ...files })),
      rooms,
      kept,
      pure: ['low'],
    });

  test('breaks no rule as it stands', () => {
    expect(broken({})).toEqual([]);
  });

  test.each<[string, Record<string, string>, readonly string[]]>([
    [
      'an arrow that runs upward, be it of a type only',
      { 'low/c.ts': "import type { M } from '../middle/environment.ts';" },
      ['low/c.ts imports middle/environment.ts: upward'],
    ],
    [
      'the type of a module further up',
      { 'low/c.ts': "export type M = import('../middle/environment.ts').M;" },
      ['low/c.ts imports middle/environment.ts: upward'],
    ],
    [
      'a cycle, be it closed by a dynamic import',
      { 'low/c.ts': "export const load = () => import('../high/a.ts');" },
      ['low/c.ts imports high/a.ts: upward'],
    ],
    [
      'an arrow down that the table does not have',
      { 'high/b.ts': "export * from '../middle/environment.ts';" },
      ['high/b.ts imports middle/environment.ts: not in the table'],
    ],
    [
      'a package that the room may not have',
      { 'low/c.ts': "import 'node:fs';", 'high/c.cjs': "require('zod');" },
      ['high/c.cjs imports the package zod', 'low/c.ts imports the package node:fs'],
    ],
    [
      'a package in another file than the one that may see it',
      { 'middle/b.ts': "import { open } from 'lmdb';" },
      ['middle/b.ts imports the package lmdb'],
    ],
    [
      'the clock and the environment in a pure room',
      { 'low/c.ts': 'export const a = [Date.now(), new Date(), process.env];' },
      ['low/c.ts uses process', 'low/c.ts uses the clock'],
    ],
    [
      'a test or a barrel as a source',
      { 'high/b.ts': "import '../test/deep/a.test.ts'; import '../low/index.ts';" },
      [
        'high/b.ts imports low/index.ts: a test or a barrel',
        'high/b.ts imports test/deep/a.test.ts: a test or a barrel',
      ],
    ],
    ['a file in a folder without a row', { 'cellar/a.ts': '' }, ['cellar/a.ts is in no room']],
  ])('is refused with %s', (_name, files, expected) => {
    expect(broken(files)).toEqual(expected);
  });

  test('is refused with a full room, of tests too', () => {
    const files = Array.from({ length: ROOM_FILES_MAX + 1 }, (_, i) => [`test/full/${i}.ts`, '']);
    expect(broken(Object.fromEntries(files))).toEqual([
      'test/full has 26 files, a room 25 at most',
    ]);
    expect(broken(Object.fromEntries(files.slice(1)))).toEqual([]);
  });

  test('is refused with a row whose last file is gone', () => {
    const files = new Map([['low/a.ts', '']]);
    expect(brokenRules({ files, rooms: rooms.slice(0, 2), kept, pure: [] })).toEqual([
      'middle has no file',
    ]);
  });
});
