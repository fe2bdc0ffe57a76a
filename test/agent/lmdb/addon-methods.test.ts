import fs from 'node:fs';
import path from 'node:path';
import { Environment } from '../../../agent/lmdb/environment.ts';
import { databaseOptions, scratchFolder } from '../../support/lmdb.ts';

type Lmdb = { open(options: object): { env: object } };

// An addon built by an earlier version: the same data format, without the method for many puts.
jest.mock('lmdb', () => {
  const actual = jest.requireActual<Lmdb>('lmdb');
  return {
    ...actual,
    open: (options: object) => {
      const root = actual.open(options);
      root.env = Object.create(root.env, { putMany: { value: undefined } }) as object;
      return root;
    },
  };
});

test('an addon without our own methods is refused when an LMDB is opened', () => {
  const folder = scratchFolder();
  expect(() => Environment.open(databaseOptions(path.join(folder, 'new.mdb')))).toThrow(
    expect.objectContaining({
      code: 'ADDON_FORMAT_WRONG',
      hint: expect.stringContaining('npm ci') as string,
    }) as Error,
  );
  fs.rmSync(folder, { recursive: true, force: true });
});
