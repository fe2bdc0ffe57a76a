import fs from 'node:fs';

import { PageCursor } from '../../../../agent/lmdb/pages/cursor.ts';
import { collectPages } from '../../../../agent/lmdb/pages/diff.ts';
import { DataFile, listDbis } from '../../../../agent/lmdb/pages/data-file.ts';
import type { Meta } from '../../../../agent/lmdb/pages/data-file.ts';
import { SyncError } from '../../../../protocol/errors.ts';
import { diffLines, scanLines } from '../../../support/lmdb-writer/diff.ts';
import { openTestLmdb } from '../../../support/lmdb-writer/env.ts';
import { DBI_KINDS, ModelWriter } from '../../../support/lmdb-writer/model.ts';
import { Random } from '../../../support/lmdb-writer/random.ts';

const rounds = Number(process.env['PAGE_DAMAGE_ROUNDS'] ?? 150);
const seed = Number(process.env['PAGE_DAMAGE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** Two states of one file, both whole in its bytes. */
async function twoStates(
  pageSize: number,
  random: Random,
): Promise<{ bytes: Buffer; from: Meta; to: Meta }> {
  const lmdb = openTestLmdb({ pageSize });
  const writer = new ModelWriter(lmdb.env, random, { maxEntries: 300, pageSize });
  for (const [index, kind] of DBI_KINDS.entries()) {
    writer.fill(writer.createDbi(`dbi-${index}`, kind), 100);
  }
  const pin = lmdb.pin();
  using file = DataFile.open(lmdb.path);
  const from = file.readMeta();
  for (let step = 0; step < 10; step += 1) {
    writer.step();
  }
  const nextPin = lmdb.pin();
  const to = file.readMeta();
  const bytes = fs.readFileSync(lmdb.path);
  pin.done();
  nextPin.done();
  await lmdb.close();
  return { bytes, from, to };
}

/** Anything but a result or a SyncError fails the test; so does what never ends, by jest's time limit. */
function survives(work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (error instanceof SyncError) {
      expect(error.code).toBe('ENVIRONMENT_UNREADABLE');
      return false;
    }
    throw new Error(`PAGE_DAMAGE_SEED=${seed}: ${String(error)}`, { cause: error });
  }
}

function damage(bytes: Buffer, pageSize: number, random: Random): void {
  const pageCount = bytes.length / pageSize;
  for (let left = 1 + random.next(4); left > 0; left -= 1) {
    const page = (2 + random.next(pageCount - 2)) * pageSize;
    const dice = random.next(10);
    if (dice < 4) {
      bytes[page + random.next(pageSize)] = random.next(256);
    } else if (dice < 7) {
      // Header, node offsets and, on small pages, nodes: where it hurts most.
      bytes[page + 8 + random.next(60)] = random.next(256);
    } else {
      // Another page's content under this page's number: a branch may lead to its own ancestor.
      const other = (2 + random.next(pageCount - 2)) * pageSize;
      bytes.copy(bytes, page + 8, other + 8, other + pageSize);
    }
  }
}

test.each([4096, 512])(
  'damaged pages of %i bytes give a result or a typed error, never a crash or a walk without end',
  async (pageSize) => {
    const random = new Random(seed);
    const { bytes, from, to } = await twoStates(pageSize, random);
    const lmdb = openTestLmdb();
    const path = `${lmdb.path}.damaged`;
    let errors = 0;
    for (let round = 0; round < rounds; round += 1) {
      const copy = Buffer.from(bytes);
      damage(copy, pageSize, random);
      fs.writeFileSync(path, copy);
      using file = DataFile.open(path);
      const target = random.bytes(1 + random.next(20));
      const results = [
        survives(() => scanLines(file, to)),
        survives(() => {
          diffLines(file, from, to, collectPages(file, from));
        }),
        survives(() => {
          for (const db of listDbis(file, to).values()) {
            const cursor = new PageCursor(file, db);
            for (let i = 0; i < 20 && cursor.seek(target, 0, target.length); i += 1) {
              target[random.next(target.length)] = random.next(256);
            }
          }
        }),
      ];
      errors += results.filter((isWhole) => !isWhole).length;
    }
    expect(errors).toBeGreaterThan(0);
    await lmdb.close();
  },
  60_000 + rounds * 100,
);

test('damaged meta pages give a result or a typed error', async () => {
  const random = new Random(seed);
  const { bytes } = await twoStates(512, random);
  const lmdb = openTestLmdb();
  const path = `${lmdb.path}.damaged`;
  let errors = 0;
  for (let round = 0; round < rounds; round += 1) {
    const copy = Buffer.from(bytes);
    for (let left = 1 + random.next(4); left > 0; left -= 1) {
      copy[512 * random.next(2) + random.next(152)] = random.next(256);
    }
    fs.writeFileSync(path, copy);
    const isWhole = survives(() => {
      using file = DataFile.open(path);
      scanLines(file, file.readMeta());
    });
    errors += isWhole ? 0 : 1;
  }
  expect(errors).toBeGreaterThan(0);
  await lmdb.close();
});

test('a branch whose children are all one page is refused at the second, and ends a walk', async () => {
  const lmdb = openTestLmdb();
  const db = lmdb.env.openDB<Buffer, Buffer>({
    name: 'dbi',
    keyEncoding: 'binary',
    encoding: 'binary',
  });
  lmdb.env.transactionSync(() => {
    for (let i = 0; i < 5000; i += 1) {
      db.putSync(Buffer.from(`key-${i}`), Buffer.alloc(60));
    }
  });
  const bytes = fs.readFileSync(lmdb.path);
  using whole = DataFile.open(lmdb.path);
  const meta = whole.readMeta();
  const root = listDbis(whole, meta).get('dbi')!.root * 4096;
  const count = (bytes.readUInt16LE(root + 12) - 16) >> 1;
  expect(count).toBeGreaterThan(10);
  for (let i = 0; i < count; i += 1) {
    bytes.copyWithin(
      root + bytes.readUInt16LE(root + 16 + 2 * i),
      root + bytes.readUInt16LE(root + 16),
      root + bytes.readUInt16LE(root + 16) + 6,
    );
  }
  fs.writeFileSync(`${lmdb.path}.damaged`, bytes);
  using file = DataFile.open(`${lmdb.path}.damaged`);
  expect(() => collectPages(file, meta)).toThrow(/stands twice/);
  expect(scanLines(file, meta).length).toBeGreaterThan(0);
  await lmdb.close();
});

test('a branch that is its own child is refused', async () => {
  const lmdb = openTestLmdb();
  const db = lmdb.env.openDB<Buffer, Buffer>({
    name: 'dbi',
    keyEncoding: 'binary',
    encoding: 'binary',
  });
  lmdb.env.transactionSync(() => {
    for (let i = 0; i < 5000; i += 1) {
      db.putSync(Buffer.from(`key-${i}`), Buffer.alloc(60));
    }
  });
  const bytes = fs.readFileSync(lmdb.path);
  using whole = DataFile.open(lmdb.path);
  const meta = whole.readMeta();
  const { root } = listDbis(whole, meta).get('dbi')!;
  bytes.writeUInt32LE(root, root * 4096 + bytes.readUInt16LE(root * 4096 + 16));
  fs.writeFileSync(`${lmdb.path}.damaged`, bytes);
  using file = DataFile.open(`${lmdb.path}.damaged`);
  expect(() => collectPages(file, meta)).toThrow(SyncError);
  expect(() => scanLines(file, meta)).toThrow(/a tree that does not end/);
  await lmdb.close();
});
