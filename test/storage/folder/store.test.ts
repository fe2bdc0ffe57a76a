import { execFile } from 'node:child_process';
import {
  mkdir,
  mkdtemp,
  readdir,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { filesystemError } from '../../../storage/folder/errors.ts';
import type { FilesystemObjectStore } from '../../../storage/folder/store.ts';
import { openFilesystemStore } from '../../../storage/folder/store.ts';
import {
  bodyOf,
  bytesOf,
  chunkedBody,
  listAll,
  objectStoreConformance,
  readAll,
} from '../../support/object-store-conformance.ts';

const signal = new AbortController().signal;
let folder: string;
let rootPath: string;

async function makeFolder(): Promise<void> {
  folder = await mkdtemp(join(tmpdir(), 'storage-'));
  rootPath = join(folder, 'made', 'here');
}

async function removeFolder(): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}

describe('file system store', () => {
  objectStoreConformance({
    open: async (hooks) => {
      await makeFolder();
      return openFilesystemStore({ rootPath, ...hooks });
    },
    openSame: () => openFilesystemStore({ rootPath }),
    cleanUp: removeFolder,
  });
});

describe('folder of a file system store', () => {
  let store: FilesystemObjectStore;
  beforeEach(async () => {
    await makeFolder();
    store = await openFilesystemStore({ rootPath, staleLockMs: 30 });
  });
  afterEach(removeFolder);

  test('is made with mode 0755, and left without temporary files', async () => {
    // The umask may take bits away, never add any.
    expect((await stat(rootPath)).mode & 0o777 & ~0o755).toBe(0);
    await store.create('a', bodyOf('1'), signal);
    await store.create('a', bodyOf('2'), signal);
    await store.put('b', bodyOf('3'), signal);
    await store.putIfUnchanged('b', bytesOf('4'), { signal, etag: '"other"' });
    await store.delete('b', signal);
    expect(await readdir(rootPath)).toEqual(['a']);
  });

  test('hides what upstream hides', async () => {
    for (const name of ['.hidden', 'main__a__x.pb.gz.tmp', 'visible']) {
      await writeFile(join(rootPath, name), 'x');
    }
    await mkdir(join(rootPath, 'folder'));
    await symlink('visible', join(rootPath, 'link'));
    expect((await listAll(store, '')).map(({ name }) => name)).toEqual(['visible']);
    for (const name of ['.hidden', 'main__a__x.pb.gz.tmp', 'folder', 'folder/x', '..', '']) {
      expect(await store.get(name, { signal })).toBeUndefined();
    }
  });

  test.each(['.hidden', 'x.tmp', 'a/b', '', '..', 'a\0b'])('refuses to store %j', async (name) => {
    const refused = { code: 'OBJECT_NAME_INVALID', retryable: false };
    await expect(store.create(name, bodyOf('x'), signal)).rejects.toMatchObject(refused);
    await expect(store.put(name, bodyOf('x'), signal)).rejects.toMatchObject(refused);
    await expect(store.delete(name, signal)).rejects.toMatchObject(refused);
  });

  test('does not wait for the writer of a named pipe', async () => {
    await promisify(execFile)('mkfifo', [join(rootPath, 'pipe')]);
    expect(await store.get('pipe', { signal })).toBeUndefined();
  });

  test('loses the temporary files of dead writers when it is opened, not those of living ones', async () => {
    const old = join(rootPath, '.lightningstream-0011.tmp');
    const fresh = join(rootPath, '.lightningstream-2233.tmp');
    const foreign = join(rootPath, 'somebody.tmp');
    for (const path of [old, fresh, foreign]) {
      await writeFile(path, 'x');
    }
    const twoHoursAgo = Date.now() / 1000 - 7200;
    await utimes(old, twoHoursAgo, twoHoursAgo);
    await utimes(foreign, twoHoursAgo, twoHoursAgo);
    await openFilesystemStore({ rootPath });
    expect((await readdir(rootPath)).toSorted()).toEqual([
      '.lightningstream-2233.tmp',
      'somebody.tmp',
    ]);
  });

  test('a lock that a dead writer left is taken over, by one of many', async () => {
    const etag = await store.putIfUnchanged('m', bytesOf('1'), { signal, etag: undefined });
    const holder = store.putIfUnchanged('m', bytesOf('2'), { signal, etag });
    const lockName = async () =>
      (await readdir(rootPath)).find((name) => name.startsWith('.lightningstream-lock-'));
    // Learn the lock's name from a living holder, then leave one of a dead holder there.
    let name = await lockName();
    while (name === undefined) {
      name = await lockName();
    }
    const second = await holder;
    await symlink('0123456789abcdef', join(rootPath, name));
    const results = await Promise.all(
      Array.from({ length: 6 }, (_, i) =>
        store.putIfUnchanged('m', bytesOf(`w${i}`), { signal, etag: second }),
      ),
    );
    expect(results.filter((result) => result !== undefined)).toHaveLength(1);
    expect(await lockName()).toBeUndefined();
  });

  test('a file that is cut while it is read is an error, not a short object', async () => {
    await store.create('a', chunkedBody(new Uint8Array(2_000_000), 500_000), signal);
    const object = await store.get('a', { signal });
    const reading = (async () => {
      for await (const chunk of object?.body ?? []) {
        expect(chunk.byteLength).toBeGreaterThan(0);
        await truncate(join(rootPath, 'a'), 600_000);
      }
    })();
    await expect(reading).rejects.toMatchObject({ code: 'STORAGE_FAILED', retryable: true });
  });

  test('a large object that was replaced between opening and reading is an error', async () => {
    await store.create('a', chunkedBody(new Uint8Array(2_000_000), 500_000), signal);
    const object = await store.get('a', { signal });
    await store.put('a', chunkedBody(new Uint8Array(2_000_000), 500_000), signal);
    await expect(readAll(object)).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      retryable: true,
    });
  });

  test('a folder that is gone is an error that may pass, never an empty store', async () => {
    await rm(rootPath, { recursive: true });
    const gone = { code: 'STORAGE_FAILED', retryable: true };
    await expect(listAll(store, '')).rejects.toMatchObject(gone);
    await expect(store.get('a', { signal })).rejects.toMatchObject(gone);
    await expect(store.create('a', bodyOf('x'), signal)).rejects.toMatchObject(gone);
  });

  test('a root that is a file is refused', async () => {
    const path = join(folder, 'file');
    await writeFile(path, 'x');
    await expect(openFilesystemStore({ rootPath: path })).rejects.toMatchObject({
      name: 'SyncError',
      message: expect.stringContaining(path),
    });
  });

  test('etags never come back, however fast an object is replaced by one of the same size', async () => {
    const seen = new Set<string>();
    let etag = await store.putIfUnchanged('m', bytesOf('0'), { signal, etag: undefined });
    for (let i = 1; i <= 40; i++) {
      expect(etag).toBeDefined();
      seen.add(etag ?? '');
      etag = await store.putIfUnchanged('m', bytesOf(String(i % 10)), { signal, etag });
    }
    expect(seen.size).toBe(40);
  });
});

test.each([
  ['ENOSPC', 'STORAGE_FAILED', true, 'no space left'],
  ['EDQUOT', 'STORAGE_FAILED', true, 'quota'],
  ['EACCES', 'STORAGE_DENIED', false, 'permission denied'],
  ['EROFS', 'STORAGE_DENIED', false, 'read-only'],
  ['EIO', 'STORAGE_FAILED', true, 'i/o error'],
])('%s becomes %s', (errno, code, retryable, text) => {
  const cause = Object.assign(new Error(`${errno}: i/o error, write`), { code: errno });
  const error = filesystemError(cause, 'store a in /srv/sync');
  expect(error).toMatchObject({ code, retryable, hint: expect.any(String), cause });
  expect(error).toMatchObject({ message: expect.stringContaining('store a in /srv/sync') });
  expect(error).toMatchObject({ message: expect.stringContaining(text) });
});
