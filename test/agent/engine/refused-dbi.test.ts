import fs from 'node:fs';
import { MemoryObjectStore } from '../../../storage/memory.ts';
import { EngineHost } from '../../support/engine-host.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { scratchFolder } from '../../support/lmdb.ts';
import { swapAt } from '../../support/lmdb-writer/disorder.ts';

const folder = scratchFolder();
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

test('a host with a DBI out of order sends the others as deltas, never a state that lacks it, and stops in its time', async () => {
  const store = new MemoryObjectStore();
  const clock = new FakeClock();
  const host = new EngineHost({ folder, instance: 'a', store, clock });
  for (let i = 0; i < 20; i += 1) {
    host.app.put('damaged', `k${i + 10}`, { value: 'x', ts: clock.nowNs() });
  }
  host.write('good', 'value');
  swapAt(host.file, 'damaged', 'k15');
  await host.start({ maxDeltas: 1 });
  const objects = async () => {
    const names: string[] = [];
    for await (const { name } of store.list('main__', { signal: new AbortController().signal })) {
      names.push(name);
    }
    return names;
  };
  await host.eventually(async () => (await objects()).length === 1);
  host.write('more', 'value');
  await host.eventually(async () => (await objects()).length === 2);
  await host.stop();
  expect((await objects()).every((name) => name.includes('.delta.'))).toBe(true);
  await host.app.close();
});
