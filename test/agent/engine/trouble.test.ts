import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseConfig } from '../../../agent/config/config.ts';
import type { EngineDeps } from '../../../agent/engine/types.ts';
import type { LocalDatabase } from '../../../agent/lmdb/local-database.ts';
import { DirectLocalDatabase } from '../../../agent/lmdb/thread/direct-database.ts';
import { DatabaseMonitor } from '../../../agent/monitor/database-monitor.ts';
import { Conditions } from '../../../agent/monitor/health.ts';
import { Metrics } from '../../../agent/monitor/metrics.ts';
import { Watchdog } from '../../../agent/watchdog/watchdog.ts';
import { SyncError } from '../../../protocol/errors.ts';
import { bucketIdName } from '../../../protocol/object-name.ts';
import { bytesBody } from '../../../storage/bodies.ts';
import { MemoryObjectStore } from '../../../storage/memory.ts';
import type { ObjectStore } from '../../../storage/object-store.ts';
import { EngineHost } from '../../support/engine-host.ts';
import { FaultyStore, type StoreCall } from '../../support/faulty-store.ts';
import { recordingLog } from '../../support/hosted-engine.ts';
import { databaseOptions } from '../../support/lmdb.ts';
import { statusSource } from '../../support/status.ts';
import { VirtualTime } from '../../support/virtual-time.ts';

const MINUTE = 60_000;
const NEVER = new AbortController().signal;

let folder: string;
let time: VirtualTime;
let bucket: MemoryObjectStore;
let store: FaultyStore;
const hosts: EngineHost[] = [];

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'lightningstream-trouble-'));
  time = new VirtualTime();
  bucket = new MemoryObjectStore();
  store = new FaultyStore(bucket);
});

afterEach(async () => {
  let isClosed = false;
  const closed = Promise.all(hosts.splice(0).map((host) => host.close())).then(() => {
    isClosed = true;
  });
  await time.until('the end of the shutdown', () => isClosed);
  await closed;
  rmSync(folder, { recursive: true, force: true });
});

const { health } = parseConfig('lmdbs: {main: {path: /db}}', {
  fileName: 'x',
  processEnv: {},
  hostname: 'h',
}).config;

/** A host whose engine is followed as in the agent, in virtual time. */
function watchedHost(instance = 'a') {
  const now = () => time.nowMs;
  const watchdog = new Watchdog(now);
  const status = statusSource();
  const metrics = new Metrics({ status, storageType: 'memory', processMetrics: false });
  const lines: string[] = [];
  const monitor: DatabaseMonitor = new DatabaseMonitor({
    name: 'main',
    path: '/db',
    health,
    metrics: metrics.syncer,
    log: recordingLog((level, text) => lines.push(`${level} ${text}`)),
    now,
    watchdog,
  });
  const host = new EngineHost({ folder, instance, store, clock: time.clock });
  hosts.push(host);
  const conditions = new Conditions(health.storageLoad.errorDurationMs);
  const checks = () =>
    [...monitor.health.checks(), ...conditions.checks(monitor.status(), now())].map(
      ({ name, level, message }) => `${level} ${name.slice('main_'.length)}: ${message}`,
    );
  const start = (deps: Partial<EngineDeps> = {}) =>
    host.start(
      { retryIntervalMs: 5000 },
      { observer: monitor, watchdog, sleep: time.sleep, wait: false, ...deps },
    );
  return { host, monitor, checks, lines, start };
}

function fail(...calls: readonly StoreCall[]): void {
  store.plan = (call) => (calls.includes(call) ? 'fail' : 'none');
}

async function objects(): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of bucket.list('main__', { signal: NEVER })) {
    names.push(name);
  }
  return names;
}

/** What another host has written before; its name. */
async function storedByOther(): Promise<{ host: EngineHost; name: string }> {
  const { host, start } = watchedHost('b');
  await start();
  host.write('k', '1');
  await time.until('the object of b', async () => (await objects()).length > 0);
  return { host, name: (await objects())[0] ?? '' };
}

/** The object, some of whose methods are others. */
function changed<T extends object>(target: T, changes: Partial<T>): T {
  return new Proxy(target, {
    get(inner, property) {
      const other: unknown = Reflect.get(changes, property);
      const value: unknown = other ?? Reflect.get(inner, property);
      return typeof value === 'function' ? (value.bind(inner) as unknown) : value;
    },
  });
}

function openDatabase(host: EngineHost): LocalDatabase {
  const options = databaseOptions(host.file, { instance: 'a', run: 'x', spoolFolder: folder });
  return new DirectLocalDatabase(options, time.clock);
}

describe('a step that fails', () => {
  test('at the start is a failure with its reason, until just that step works', async () => {
    const { checks, start, lines } = watchedHost();
    fail('get', 'list');
    await start();
    await time.pass(MINUTE + 1000);
    expect(checks()).toEqual([
      expect.stringMatching(/^warning bucket_id_failed: failed to read .* 1m.*injected fault/),
    ]);
    await time.pass(4 * MINUTE);
    expect(checks()).toEqual([expect.stringMatching(/^error bucket_id_failed: /)]);
    expect(lines.length).toBeLessThanOrEqual(6);
    // Now the id can be read, and the listing fails instead.
    fail('list');
    await time.until('the id', () => !checks().some((check) => check.includes('bucket_id')));
    await time.pass(5 * MINUTE + 1000);
    expect(checks()).toEqual([
      expect.stringMatching(/^error storage_list_failed_duration: /),
      expect.stringMatching(/^error pass_failed: /),
    ]);
    fail();
    await time.until('all is well', () => checks().length === 0);
    expect(lines).toContain('info can list storage backend again');
  });

  test('with one object stays a failure while others come in', async () => {
    const { host: other, name: bad } = await storedByOther();
    store.plan = (call, name) => (call === 'get' && name === bad ? 'fail' : 'none');
    const { host, checks, start } = watchedHost();
    await start();
    await time.pass(MINUTE);
    other.write('k2', '2');
    await time.until('the second of b', async () => (await objects()).length > 1);
    host.engine.noteNames(await objects());
    await time.until('it is here', () => host.values()['k2'] === '2');
    await time.pass(4 * MINUTE);
    expect(checks()[0]).toMatch(/^error storage_load_failed_duration: .*injected fault/);
    fail();
    await time.until('all is well', () => checks().length === 0);
    expect(host.values()['k']).toBe('1');
  });

  test('with one object is over when that object is gone and all others are here', async () => {
    const { name: bad } = await storedByOther();
    store.plan = (call, name) => (call === 'get' && name === bad ? 'fail' : 'none');
    const { checks, start, lines } = watchedHost();
    await start();
    await time.pass(6 * MINUTE);
    expect(checks()[0]).toMatch(/^error storage_load_failed_duration: /);
    await bucket.delete(bad, NEVER);
    await time.until('all is well', () => checks().length === 0);
    expect(lines).toContain('info can read from storage backend again');
  });

  test('to read the id of the bucket, since that is damaged, is told until the next start', async () => {
    await bucket.put(bucketIdName(), bytesBody(Buffer.from('no id')), NEVER);
    const { host, checks, start } = watchedHost();
    await start();
    host.write('k', '1');
    await time.until('the object of a', async () => (await objects()).length > 0);
    await time.pass(10 * MINUTE);
    expect(checks()).toEqual([
      expect.stringMatching(/^warning bucket_id_damaged: .*is not a bucket id.*Restore the object/),
    ]);
  });

  test('in the LMDB is a failure until just that works, and no hint makes a try come sooner', async () => {
    const { host, checks, start, lines } = watchedHost();
    let tries = 0;
    let isBroken = false;
    const db = openDatabase(host);
    const look = async <T>(work: () => Promise<T>): Promise<T> => {
      if (isBroken) {
        tries += 1;
        throw new SyncError('TRANSACTION_FAILED', 'no reader is free', { retryable: true });
      }
      return work();
    };
    await start({
      db: changed(db, {
        detect: () => look(() => db.detect()),
        encodeDelta: (options) => look(() => db.encodeDelta(options)),
      }),
    });
    await time.pass(1000);
    isBroken = true;
    for (let write = 0; write < 300; write += 1) {
      host.write('k', String(write));
      await time.pass(40);
    }
    // Twelve seconds: after 0.5, 1, 2, 4, and then every 5 seconds.
    expect(tries).toBeLessThanOrEqual(6);
    const { name } = await storedByOther();
    host.engine.noteNames([name]);
    await time.until('the merge', () => lines.includes('info Loaded remote snapshot'));
    expect(checks()).toEqual([expect.stringMatching(/^warning lmdb_failed: .*no reader is free/)]);
    await time.pass(5 * MINUTE);
    expect(checks()).toEqual([expect.stringMatching(/^error lmdb_failed: /)]);
    isBroken = false;
    await time.until('all is well', () => checks().length === 0);
  });
});

describe('a loop that hangs', () => {
  test('for a request that never ends is named with the request, whatever else goes on', async () => {
    const { host, checks, start } = watchedHost();
    const hanging: ObjectStore = changed<ObjectStore>(bucket, {
      create: (name, body, signal) =>
        name.startsWith('main__')
          ? new Promise((_, reject) => {
              signal.addEventListener('abort', () => reject(signal.reason as Error));
            })
          : bucket.create(name, body, signal),
    });
    await start({ store: hanging });
    host.write('k', '1');
    for (let minute = 0; minute < 12; minute += 1) {
      await time.pass(MINUTE);
      host.write('k', String(minute));
    }
    await time.pass(1000);
    expect(checks()).toEqual([
      expect.stringMatching(
        /^error send_stalled: send: waits for the storage to take main__a__.* since 12m/,
      ),
    ]);
  });

  test('for the thread of the LMDB is named with its work, until that goes on', async () => {
    const { name } = await storedByOther();
    const { host, checks, start } = watchedHost();
    const db = openDatabase(host);
    let release = (): void => undefined;
    const stuck = new Promise<void>((resolve) => {
      release = resolve;
    });
    await start({
      db: changed(db, {
        merge: async (request) => {
          await stuck;
          return db.merge(request);
        },
      }),
    });
    await time.pass(12 * MINUTE);
    const waits = `waits for the LMDB to merge ${name} since `;
    expect(checks()).toEqual([
      expect.stringContaining(`error lmdb_stalled: lmdb: ${waits}`),
      expect.stringContaining(`error receive_stalled: receive: ${waits}`),
    ]);
    release();
    await time.until('all is well', () => checks().length === 0);
  });
});
