import { formatNameTime } from '../../protocol/time.ts';
import { MAX_KEY_BYTES } from '../../protocol/limits.ts';
import { parseObjectName } from '../../protocol/object-name.ts';
import { bytesBody } from '../../storage/bodies.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import type { Register } from '../../protocol/register.ts';
import { encodeSnapshot, mergeBytes, readObject, type State } from '../support/compaction.ts';
import { mergeInto, type Content } from './ledger.ts';
import { splitKey } from './host.ts';

const NEVER = new AbortController().signal;

function holdsLongKey(state: State): boolean {
  const keys = [...state.values()].flatMap((entries) => [...entries.keys()]);
  return keys.some((hex) => hex.length > 2 * MAX_KEY_BYTES);
}

/**
 * An instance of upstream's: it stores full snapshots only, reads the newest one (by name) of every other instance, and
 * knows nothing of deltas, bases and manifests.
 */
export class UpstreamPeer {
  readonly instance = 'upstream';
  readonly committed: Content = new Map();
  readonly #store: ObjectStore;
  readonly database: string;
  readonly #nowNs: () => bigint;
  #content: Content = new Map();
  readonly #loaded = new Map<string, string>();
  #lastNs = 0n;
  #changed = false;

  constructor(options: { store: ObjectStore; database: string; nowNs: () => bigint }) {
    this.#store = options.store;
    this.database = options.database;
    this.#nowNs = options.nowNs;
  }

  get content(): Content {
    return this.#content;
  }

  write(key: string, register: Register): void {
    mergeInto(this.#content, key, register);
    this.committed.set(key, register);
    this.#changed = true;
  }

  /** One round of its loop: loads what is new, stores what changed. */
  async round(): Promise<void> {
    for (const [instance, name] of await this.#newest()) {
      if (this.#loaded.get(instance) === name) {
        continue;
      }
      const bytes = await readObject(this.#store, name);
      if (bytes === undefined) {
        continue;
      }
      const state: State = new Map();
      try {
        mergeBytes(state, bytes);
      } catch {
        continue; // damaged: tried again at the next round
      }
      if (holdsLongKey(state)) {
        continue; // LMDB takes none of that transaction
      }
      this.#loaded.set(instance, name);
      for (const [dbi, entries] of state) {
        for (const [hex, register] of entries) {
          mergeInto(
            this.#content,
            `${dbi}/${Buffer.from(hex, 'hex').toString('latin1')}`,
            register,
          );
        }
      }
    }
    if (this.#changed) {
      await this.#storeAll();
    }
  }

  async #newest(): Promise<Map<string, string>> {
    const newest = new Map<string, string>();
    for await (const { name } of this.#store.list(`${this.database}__`, { signal: NEVER })) {
      const object = parseObjectName(name);
      if (object?.kind !== 'snapshot' || object.instance === this.instance) {
        continue;
      }
      if (name > (newest.get(object.instance) ?? '')) {
        newest.set(object.instance, name);
      }
    }
    return newest;
  }

  async #storeAll(): Promise<void> {
    this.#changed = false;
    const now = this.#nowNs();
    this.#lastNs = now > this.#lastNs ? now : this.#lastNs + 1n;
    const dbis = new Map<string, [string, Register][]>();
    for (const [key, register] of this.#content) {
      const [dbi, name] = splitKey(key);
      dbis.set(dbi, [...(dbis.get(dbi) ?? []), [name, register]]);
    }
    const bytes = encodeSnapshot(
      { generationId: 'GX', instance: this.instance, timestampNs: this.#lastNs },
      [...dbis]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, entries]) => ({
          name,
          entries: entries
            .toSorted(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, register]) => ({ key: Buffer.from(key, 'latin1'), ...register })),
        })),
    );
    const name = `${this.database}__${this.instance}__${formatNameTime(this.#lastNs)}__GX.pb.gz`;
    try {
      await this.#store.create(name, bytesBody(bytes), NEVER);
    } catch {
      this.#changed = true;
    }
  }
}
