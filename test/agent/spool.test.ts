import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  discardSpool,
  prepareSpoolFolder,
  readSpool,
  spoolBody,
  SpoolWriter,
  writeSpool,
  type Spool,
} from '../../agent/spool.ts';
import { bytesBody } from '../../storage/bodies.ts';
import { openSpools } from '../support/open-spools.ts';

const BYTES = Buffer.from(Array.from({ length: 600_000 }, (_, at) => at % 251));

let folder: string;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lightningstream-test-'));
});
afterEach(() => {
  fs.rmSync(folder, { recursive: true, force: true });
});

async function largeSpool(): Promise<Spool> {
  return writeSpool(bytesBody(BYTES).open(), { memoryBytes: 1000, folder });
}

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) {
    all.push(chunk);
  }
  return Buffer.concat(all);
}

test('a large object is read as often as needed, and leaves nothing when it is discarded', async () => {
  const spool = await largeSpool();
  expect(spool).toMatchObject({ kind: 'file', sizeBytes: BYTES.length });
  expect((await bytesOf(readSpool(spool))).equals(BYTES)).toBe(true);
  expect((await bytesOf(spoolBody(spool).open())).equals(BYTES)).toBe(true);
  expect(openSpools(folder)).toHaveLength(1);
  await discardSpool(spool);
  await discardSpool(spool);
  expect(openSpools(folder)).toEqual([]);
});

test('a killed run leaves no file: a spool has no name from the start', async () => {
  const writer = new SpoolWriter({ memoryBytes: 10, folder });
  await writer.write(BYTES);
  expect(fs.readdirSync(folder)).toEqual([]);
  const spool = await writer.finish();
  expect(fs.readdirSync(folder)).toEqual([]);
  await discardSpool(spool);
});

test('whoever tidies up the folder takes no spool away', async () => {
  const spool = await largeSpool();
  fs.rmSync(folder, { recursive: true });
  expect((await bytesOf(readSpool(spool))).equals(BYTES)).toBe(true);
  await discardSpool(spool);
});

test('who still reads a discarded spool gets an error, and never bytes of another file', async () => {
  const spool = await largeSpool();
  const chunks = readSpool(spool)[Symbol.asyncIterator]();
  await chunks.next();
  const reading = chunks.next();
  await discardSpool(spool);
  const other = await writeSpool(bytesBody(Buffer.alloc(600_000, 'x')).open(), {
    memoryBytes: 1000,
    folder,
  });
  const { value } = (await reading) as { value: Uint8Array };
  expect(BYTES.subarray(262_144, 262_144 + value.length).equals(value)).toBe(true);
  await expect(chunks.next()).rejects.toThrow('discarded');
  await discardSpool(other);
  expect(openSpools(folder)).toEqual([]);
});

test('a body that breaks off leaves nothing', async () => {
  async function* broken() {
    yield BYTES;
    throw new Error('cut off');
  }
  await expect(writeSpool(broken(), { memoryBytes: 10, folder })).rejects.toThrow('cut off');
  expect(openSpools(folder)).toEqual([]);
});

test('a spool that is forgotten in the middle of a call is closed', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  await largeSpool();
  for (let round = 0; round < 100 && openSpools(folder).length > 0; round += 1) {
    collect();
    await nextTurn();
  }
  expect(openSpools(folder)).toEqual([]);
});

describe('at the start', () => {
  test('a folder that is missing is named with its key', async () => {
    const missing = path.join(folder, 'missing');
    const preparing = prepareSpoolFolder(missing);
    await expect(preparing).rejects.toThrow(/\/missing \(spool_folder\): .*ENOENT/);
    await expect(preparing).rejects.toMatchObject({
      code: 'SPOOL_FAILED',
      hint: expect.stringContaining('`spool_folder`'),
    });
  });

  test('one that can be written is left as it was, but for what killed runs left there', async () => {
    const files = {
      'lightningstream-0123456789abcdef.spool': 25,
      'lightningstream-fedcba9876543210.spool': 23,
      'lightningstream-notes.spool': 25,
      'somebody-else': 25,
    };
    for (const [name, hours] of Object.entries(files)) {
      fs.writeFileSync(path.join(folder, name), '');
      const atSeconds = Date.now() / 1000 - hours * 3600;
      fs.utimesSync(path.join(folder, name), atSeconds, atSeconds);
    }
    await prepareSpoolFolder(folder);
    expect(fs.readdirSync(folder).toSorted()).toEqual(Object.keys(files).slice(1).toSorted());
    expect(openSpools(folder)).toEqual([]);
  });
});
