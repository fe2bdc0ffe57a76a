import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { open } from 'lmdb';
import type { RootDatabase } from 'lmdb';

/** A real LMDB in a folder of its own, as raw bytes, and without waiting for the disk. */
export type TestLmdb = {
  readonly env: RootDatabase<Buffer, Buffer>;
  readonly path: string;
  /** A read transaction that pins what is committed now. */
  readonly pin: () => { done(): void };
  readonly close: () => Promise<void>;
};

/** `pageSize`: LMDB 0.9 takes the machine's for a new file, and that of the file for one that exists. */
export function openTestLmdb({
  pageSize,
  ...options
}: { pageSize?: number; [option: string]: unknown } = {}): TestLmdb {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lmdb-test-'));
  const file = path.join(folder, 'data.mdb');
  if (pageSize !== undefined) {
    fs.writeFileSync(file, emptyEnvironment(pageSize));
  }
  const env = open<Buffer, Buffer>({
    path: file,
    noSubdir: true,
    keyEncoding: 'binary',
    encoding: 'binary',
    cache: false,
    overlappingSync: false,
    noSync: true,
    maxDbs: 64,
    mapSize: 1024 ** 3,
    ...options,
  } as never);
  return {
    env,
    path: file,
    pin: () => {
      // Without this the binding hands out its shared transaction, which may be an older one.
      (env as unknown as { resetReadTxn(): void }).resetReadTxn();
      return env.useReadTransaction();
    },
    close: async () => {
      await env.close();
      fs.rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The two meta pages of an environment in which nothing was ever written. */
function emptyEnvironment(pageSize: number): Buffer {
  const bytes = Buffer.alloc(2 * pageSize);
  for (const pageNumber of [0, 1]) {
    const page = bytes.subarray(pageNumber * pageSize);
    page.writeUInt32LE(pageNumber, 0);
    page.writeUInt16LE(0x08, 10);
    page.writeUInt32LE(0xbeefc0de, 16);
    page.writeUInt32LE(1, 20);
    page.writeBigUInt64LE(1n << 30n, 32);
    page.writeUInt32LE(pageSize, 40);
    page.writeUInt16LE(0x08, 44);
    page.fill(0xff, 80, 88);
    page.fill(0xff, 128, 136);
    page.writeUInt32LE(1, 136);
  }
  return bytes;
}
