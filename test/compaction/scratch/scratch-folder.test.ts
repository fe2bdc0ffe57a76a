import { execFileSync, fork, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ScratchFolder } from '../../../compaction/scratch/scratch-folder.ts';

const CHILD = resolve(__dirname, 'scratch-holder.ts');

let parent: string;
const children: ChildProcess[] = [];
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'scratch-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
  }
  await rm(parent, { recursive: true, force: true });
});

/** A process with a scratch folder of its own in `parent`, one file in it; resolves when that is written. */
async function holder(): Promise<ChildProcess> {
  const child = fork(CHILD, [parent], { execArgv: ['--import', 'tsx'] });
  children.push(child);
  await once(child, 'message');
  return child;
}

test('what a killed run left is removed at the start of the next one; a living run keeps its folder', async () => {
  const killed = await holder();
  const [left] = await readdir(parent);
  const living = await holder();
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  const folder = await ScratchFolder.open(parent);
  const names = await readdir(parent);
  expect(names).not.toContain(left);
  // The living process' and the new one.
  expect(names).toHaveLength(2);
  await folder.close();
  const [kept] = await readdir(parent);
  expect(await readdir(join(parent, kept ?? ''))).toContain('1');
  expect(living.exitCode).toBeNull();
});

test('folders that nobody can be asked about go when nothing was written for a day; what is not ours stays', async () => {
  const old = new Date(Date.now() - 25 * 3600 * 1000);
  for (const name of [
    'lightningstream-compaction-old',
    'lightningstream-compaction-new',
    'other',
  ]) {
    await mkdir(join(parent, name));
    await writeFile(join(parent, name, '1'), 'bytes');
  }
  for (const name of ['lightningstream-compaction-old', 'other']) {
    await utimes(join(parent, name, '1'), old, old);
    await utimes(join(parent, name), old, old);
  }
  await symlink(join(parent, 'other'), join(parent, 'lightningstream-compaction-link'));
  const folder = await ScratchFolder.open(parent);
  await folder.close();
  expect((await readdir(parent)).toSorted()).toEqual([
    'lightningstream-compaction-link',
    'lightningstream-compaction-new',
    'other',
  ]);
  expect(await readdir(join(parent, 'other'))).toEqual(['1']);
});

const withRoot = process.getuid?.() === 0 ? describe : describe.skip;
withRoot('a small disk', () => {
  test('that is full is an error that asks for more, and what was half written is freed', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', parent]);
    try {
      const folder = await ScratchFolder.open(parent);
      const before = await folder.freeBytes();
      const file = await folder.create();
      const tooMuch = async (): Promise<void> => {
        for (let i = 0; i < 20; i++) {
          await file.write(new Uint8Array(100_000));
        }
      };
      await expect(tooMuch()).rejects.toMatchObject({
        code: 'SPOOL_FAILED',
        retryable: true,
        hint: expect.stringContaining('more disk') as string,
      });
      expect(await folder.freeBytes()).toBe(before);
      await folder.close();
    } finally {
      spawnSync('umount', ['-l', parent]);
    }
  });
});
