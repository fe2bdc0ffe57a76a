import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { Environment } from '../../../agent/lmdb/environment.ts';
import { databaseOptions, scratchFolder } from '../../support/lmdb.ts';
import { testBundle } from '../../support/test-bundle.ts';

const TIMES = 300;
const folder = scratchFolder();
let file = '';
let count = 0;
let writer = '';
let open: Environment[] = [];

beforeAll(async () => {
  writer = await testBundle('test/support/children/write-once.ts');
});

beforeEach(() => {
  count += 1;
  file = path.join(folder, `close-${count}.mdb`);
});

afterEach(async () => {
  for (const one of open) {
    await one.close();
  }
  open = [];
});

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function openEnvironment(): Environment {
  const environment = Environment.open(databaseOptions(file));
  open.push(environment);
  return environment;
}

async function close(environment: Environment): Promise<void> {
  open = open.filter((one) => one !== environment);
  await environment.close();
}

function put(environment: Environment, key: string): void {
  environment.write((txn) => {
    txn.createDbi('d', 0);
    txn.put('d', Buffer.from(key), Buffer.from('value'));
  });
}

/** Descriptors and maps that this process has of the LMDB's two files. */
function held(): { readonly descriptors: number; readonly maps: number } {
  const targets = fs.readdirSync('/proc/self/fd').map((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // The one that read the folder.
      return '';
    }
  });
  const maps = fs.readFileSync('/proc/self/maps', 'utf8').split('\n');
  return {
    descriptors: targets.filter((target) => target.startsWith(file)).length,
    maps: maps.filter((line) => line.includes(file)).length,
  };
}

// Descriptors are counted in /proc.
const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('closing an environment', () => {
  test(`${TIMES} times leaves no descriptor, no map and no reader slot behind`, async () => {
    for (let time = 0; time < TIMES; time += 1) {
      const environment = openEnvironment();
      put(environment, `k${time}`);
      // One that nobody closes goes with it.
      environment.beginRead();
      await close(environment);
    }
    expect(held()).toEqual({ descriptors: 0, maps: 0 });
    const last = openEnvironment();
    expect(last.readers().used).toBe(0);
    expect(last.beginRead().meta.txnId).toBe(TIMES);
  });

  test(`and opening it again ${TIMES} times, beside another process, holds what one opening holds`, async () => {
    const environment = openEnvironment();
    put(environment, 'first');
    const once = held();
    for (let time = 0; time < TIMES; time += 1) {
      await environment.reopen();
      const read = environment.beginRead();
      if (time % 100 === 0) {
        execFileSync(process.execPath, [writer, file]);
      }
      read.close();
      put(environment, `k${time}`);
    }
    expect(held()).toEqual(once);
    expect(environment.readers().used).toBeLessThanOrEqual(1);
  });

  test('that is open twice in this process keeps the lock and the readers of the other', async () => {
    const first = openEnvironment();
    put(first, 'a');
    const pinned = first.beginRead();
    const second = openEnvironment();
    put(second, 'b');
    await close(second);
    // With the lock lost, this one would take the lock table for nobody's and clear it.
    execFileSync(process.execPath, [writer, file]);
    expect(first.readers().used).toBe(1);
    put(first, 'c');
    pinned.close();
    expect(first.beginRead().meta.txnId).toBe(4);
  });
});
