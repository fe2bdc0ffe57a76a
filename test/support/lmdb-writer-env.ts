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

export function openTestLmdb(options: Record<string, unknown> = {}): TestLmdb {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lmdb-test-'));
  const file = path.join(folder, 'data.mdb');
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
