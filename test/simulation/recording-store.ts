import { COMPACTED_INSTANCE, parseObjectName } from '../../protocol/object-name.ts';
import { MemoryObjectStore } from '../../storage/memory.ts';
import { bytesBody, collectBody } from '../../storage/bodies.ts';
import type { GetOptions, ObjectBody, ObjectStore } from '../../storage/object-store.ts';
import { readEncodedSink } from '../support/lmdb.ts';
import type { Content, Ledger } from './ledger.ts';

const NEVER = new AbortController().signal;

/** The bucket of the simulation: in memory, and every object that agents store in it is written into the ledger. */
export class RecordingStore extends MemoryObjectStore {
  readonly #ledger: (database: string) => Ledger;
  /** Called when an object that did not exist is there. */
  onStored: (name: string) => void = () => undefined;
  /** The right bytes of objects that are damaged at the moment. */
  readonly #undamaged = new Map<string, Uint8Array>();

  constructor(ledger: Ledger | ((database: string) => Ledger), nowMs: () => number) {
    super({ nowMs });
    this.#ledger = typeof ledger === 'function' ? ledger : () => ledger;
  }

  /** The same bucket as if nothing in it were damaged. */
  get undamaged(): ObjectStore {
    const get = async (name: string, options: GetOptions) => {
      const got = await this.get(name, options);
      const bytes = this.#undamaged.get(name);
      return got === undefined || bytes === undefined
        ? got
        : { ...got, body: bytesBody(bytes).open() };
    };
    return new Proxy<ObjectStore>(this, {
      get: (store, property) => {
        const value: unknown = Reflect.get(store, property);
        if (property === 'get') {
          return get;
        }
        return typeof value === 'function' ? value.bind(store) : value;
      },
    });
  }

  get damagedNames(): string[] {
    return [...this.#undamaged.keys()];
  }

  override async create(
    name: string,
    body: ObjectBody,
    signal: AbortSignal,
  ): Promise<'stored' | 'exists'> {
    const bytes = await collectBody(body, signal);
    const object = parseObjectName(name);
    const isAgents = object !== undefined && object.instance !== COMPACTED_INSTANCE;
    // Decoded before it is visible, so that no reader is ahead of the ledger.
    const content = isAgents ? await decode(bytes) : undefined;
    const outcome = await super.create(name, bytesBody(bytes), signal);
    if (outcome === 'stored' && object !== undefined && content !== undefined) {
      this.#ledger(object.database).note(object, content);
    }
    if (outcome === 'stored') {
      this.onStored(name);
    }
    return outcome;
  }

  /** Stores bytes of which nobody is to keep anything in mind, over what is there. */
  async plant(name: string, bytes: Uint8Array): Promise<void> {
    await this.put(name, bytesBody(bytes), NEVER);
    this.onStored(name);
  }

  async names(): Promise<string[]> {
    const names: string[] = [];
    for await (const { name } of this.list('', { signal: NEVER })) {
      names.push(name);
    }
    return names;
  }

  /** Flips a byte of an object, until {@link repairAll}. */
  async damage(name: string, random: (bound: number) => number): Promise<void> {
    const got = await this.get(name, { signal: NEVER });
    if (got === undefined || this.#undamaged.has(name)) {
      return;
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of got.body) {
      chunks.push(chunk);
    }
    const bytes = Buffer.concat(chunks);
    const damaged = Buffer.from(bytes);
    // The trailer (checksum and length) is always looked at, whatever the deflated bytes say.
    const at = random(2) === 0 ? bytes.length - 1 - random(8) : 10 + random(bytes.length - 10);
    damaged[at] = (damaged[at] ?? 0) ^ (1 << random(8));
    this.#undamaged.set(name, bytes);
    await this.put(name, bytesBody(damaged), NEVER);
  }

  async repairAll(): Promise<void> {
    for (const [name, bytes] of this.#undamaged) {
      const got = await this.get(name, { signal: NEVER });
      if (got !== undefined) {
        await this.put(name, bytesBody(bytes), NEVER);
      }
    }
    this.#undamaged.clear();
  }
}

async function decode(bytes: Uint8Array): Promise<Content> {
  const sink = await readEncodedSink({ kind: 'memory', bytes });
  const content: Content = new Map();
  for (const dbi of sink.dbis) {
    for (const entry of dbi.entries) {
      const key = Buffer.from(entry.key, 'hex').toString('latin1');
      const deleted = (entry.flags & 1) === 1;
      content.set(`${dbi.name}/${key}`, {
        timestampNs: BigInt(entry.timestampNano),
        value: deleted ? new Uint8Array(0) : Buffer.from(entry.value, 'hex'),
        deleted,
      });
    }
  }
  return content;
}
