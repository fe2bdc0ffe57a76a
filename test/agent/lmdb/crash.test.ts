import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { dumpEntries, dumpRaw, localDatabase, scratchFolder } from '../../support/lmdb.ts';
import { testBundle } from '../../support/test-bundle.ts';

const folder = scratchFolder();

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

test('a process killed while it merges leaves entries and vector that belong together', async () => {
  const bundle = await testBundle('test/support/children/merge-forever.ts');
  const file = path.join(folder, 'killed.mdb');
  let reached = 0;
  for (let round = 1; round <= 4; round += 1) {
    const child = spawn(process.execPath, [bundle, file], { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    let reported = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      reported = Number(line);
      if (reported >= reached + 7 * round) {
        child.kill('SIGKILL');
      }
    }
    await exited;
    const values = new Set(
      Object.values(dumpEntries(file).zones ?? {}).map(({ value }) => Number(value)),
    );
    const state = dumpRaw(file)._sync_state ?? {};
    const position = state['vector/b.runb']?.toString('utf8', 24).split(' ')[1];
    expect([...values]).toEqual([Number(position)]);
    expect(Number(position)).toBeGreaterThanOrEqual(reported);
    reached = Number(position);
  }
  // What they wrote are echoes for the next run, and nobody's dead readers are left.
  const db = localDatabase(file);
  expect(await db.open()).toMatchObject({ entries: 10 });
  expect((await db.stats()).readers).toBe(1);
  await db.close();
});
