import { requireMatchingMeta } from '../../protocol/delta.ts';
import { SyncError } from '../../protocol/errors.ts';
import type { Manifest } from '../../protocol/manifest.ts';
import { parseObjectName } from '../../protocol/object-name.ts';
import { readSnapshotHead } from '../../protocol/snapshot-reader.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { isCoveredBy, type VersionVector } from '../../protocol/version-vector.ts';

/** Bytes of a base that are read for its vector: room for some thousand streams. */
const HEAD_BYTES = 64 * 1024;

/**
 * Tells which objects of a published state are still to be merged.
 *
 * A base is as large as the database, the level-1 deltas behind it are as large as what changed. An agent whose
 * vector covers the base itself needs the deltas only.
 */
export class BaseParts {
  readonly #store: ObjectStore;
  /** Of the base seen last: a name never gets other bytes. */
  #known: { readonly base: string; readonly vector: VersionVector } | undefined;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  /** Notes what a fetched base's Meta says, which saves a request later. */
  note(base: string, vector: VersionVector | undefined): void {
    if (vector !== undefined) {
      this.#known = { base, vector };
    }
  }

  /**
   * Names, in order, of what must be merged so that `local` covers the manifest's vector; undefined when the base is
   * gone. Requests: a ranged GET at most, none for a host without data. Rejects when the storage fails.
   */
  async missing(
    manifest: Manifest,
    local: VersionVector,
    signal: AbortSignal,
  ): Promise<readonly string[] | undefined> {
    const { base, level1 } = manifest;
    const whole = [base, ...level1];
    // Without deltas it is the base that is missing, and a host without data has nothing of either.
    if (level1.length === 0 || local.size === 0) {
      return whole;
    }
    if (this.#known?.base !== base) {
      const vector = await this.#readVector(base, signal);
      if (vector === 'gone') {
        return undefined;
      }
      this.note(base, vector);
    }
    return this.#known?.base === base && isCoveredBy(this.#known.vector, local) ? level1 : whole;
  }

  /** undefined: its head cannot be used; whoever reads the whole of it will say why. */
  async #readVector(
    base: string,
    signal: AbortSignal,
  ): Promise<VersionVector | 'gone' | undefined> {
    const object = parseObjectName(base);
    const got = await this.#store.get(base, { signal, firstBytes: HEAD_BYTES });
    if (got === undefined) {
      return 'gone';
    }
    try {
      const { meta } = await readSnapshotHead(got.body);
      if (object !== undefined) {
        requireMatchingMeta(object, meta);
      }
      return meta.vector;
    } catch (error) {
      if (error instanceof SyncError && error.code.startsWith('SNAPSHOT_')) {
        return undefined;
      }
      throw error;
    }
  }
}
