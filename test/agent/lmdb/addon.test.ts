import { Environment } from '../../../agent/lmdb/environment.ts';
import { databaseOptions, scratchFolder } from '../../support/lmdb.ts';
import fs from 'node:fs';
import path from 'node:path';

// An addon as npm ships it: its LMDB writes another data format.
jest.mock('lmdb', () => ({
  ...jest.requireActual<object>('lmdb'),
  version: { major: 0, minor: 9, patch: 90 },
}));

test('an addon of the newer data format is refused before anything is touched', () => {
  const folder = scratchFolder();
  const file = path.join(folder, 'new.mdb');
  expect(() => Environment.open(databaseOptions(file))).toThrow(
    expect.objectContaining({
      code: 'ADDON_FORMAT_WRONG',
      hint: expect.stringContaining('npm ci') as string,
    }) as Error,
  );
  expect(fs.readdirSync(folder)).toEqual([]);
  fs.rmSync(folder, { recursive: true, force: true });
});
