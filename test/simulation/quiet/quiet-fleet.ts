import { setTimeout as pause } from 'node:timers/promises';
import { parseObjectName } from '../../../protocol/object-name.ts';
import { Fleet, type Traits } from './fleet.ts';
import type { Host } from '../host.ts';
import { SeededRandom } from '../../support/random.ts';

const QUIET: Traits = {
  instances: ['a', 'b'],
  keys: [],
  faultRate: 0,
  databaseFaultRate: 0,
  damages: false,
  mustKeepMs: undefined,
  maxDeltas: 1000,
  persistIntervalMs: 1_000_000,
  pendingBytesMax: 1 << 20,
  spoolMemoryBytes: 1 << 20,
  downloadConcurrency: 3,
  downloadPlaces: 4,
  shutdownTimeoutMs: 1_000_000,
  upstreamReaders: false,
  compaction: {},
};

/** Rounds of waiting after which what is awaited does not come: some seconds, when all goes wrong. */
const ROUNDS = 2000;

/** Two hosts, A and B, and a bucket where nothing goes wrong but what a test asks for. */
export class QuietFleet extends Fleet {
  constructor(traits: Partial<Traits> = {}) {
    super(new SeededRandom(1), { ...QUIET, ...traits });
  }

  get a(): Host {
    return this.#host(0);
  }

  get b(): Host {
    return this.#host(1);
  }

  /** The application of a host writes a key (undefined: deletes it), and the watcher of the file tells of it. */
  write(host: Host, key: string, text: string | undefined): void {
    const value = Buffer.from(text ?? '');
    const register = { timestampNs: host.clock.nowNs(), value, deleted: text === undefined };
    host.commit(new Map([[`zones/${key}`, register]]));
    host.tellChange();
  }

  /** What a host has at a key; undefined: nothing, or a deletion. */
  read(host: Host, key: string): string | undefined {
    const register = host.dump().get(`zones/${key}`);
    return register === undefined || register.deleted
      ? undefined
      : Buffer.from(register.value).toString('latin1');
  }

  /** Names of the agents' objects ever stored, shortened to instance, number and kind, in the order of storing. */
  stored(): string[] {
    return [...this.ledger.objects.values()].map(({ object }) => shortName(object.name));
  }

  /** The full names. */
  storedNames(): string[] {
    return [...this.ledger.objects.keys()];
  }

  /** Waits until it is so, or throws. */
  async until(what: string, isSo: () => boolean): Promise<void> {
    for (let round = 0; round < ROUNDS; round += 1) {
      if (isSo()) {
        return;
      }
      await pause(1);
    }
    throw new Error(`never came: ${what}`);
  }

  /** Waits until everything that is under way has come to rest. */
  async rest(): Promise<void> {
    for (let round = 0; round < 12; round += 1) {
      await pause(1);
      await this.turns(5);
    }
  }

  #host(index: number): Host {
    const host = this.hosts[index];
    if (host === undefined) {
      throw new Error('there is no such host');
    }
    return host;
  }
}

/** `a.2 delta` of an agent's object; other names as they are. */
export function shortName(name: string): string {
  const object = parseObjectName(name);
  if (object === undefined) {
    return name;
  }
  return `${object.instance}.${object.seq} ${object.marked ? 'marked' : object.kind}`;
}
