import type { Detection } from '../local-database.ts';
import type { HeldSchema } from '../sync-state-text.ts';

type HoldParts = {
  /** What `_sync_state` says. */
  readonly held: HeldSchema | undefined;
  /** Merge any version. */
  readonly allowed: boolean;
  /** The version in this LMDB. */
  readonly local: () => HeldSchema | undefined;
};

/**
 * Keeps a newer schema version of PowerDNS out of this LMDB: the PowerDNS here would refuse its next start. Everything
 * else of the object is merged, so the vector covers what is left out, and that is remembered with it.
 */
export class SchemaHold {
  #held: HeldSchema | undefined;
  readonly #allowed: boolean;
  readonly #local: () => HeldSchema | undefined;

  constructor({ held, allowed, local }: HoldParts) {
    this.#held = held;
    this.#allowed = allowed;
    this.#local = local;
  }

  /** To be written with every vector. */
  get held(): HeldSchema | undefined {
    return this.#held;
  }

  /** The highest version that may be merged; undefined: any. */
  get max(): number | undefined {
    return this.#allowed ? undefined : this.#local()?.version;
  }

  /** This version has come in and was left out. */
  add(schema: HeldSchema): void {
    if (schema.timestampNs >= (this.#held?.timestampNs ?? 0n)) {
      this.#held = schema;
    }
  }

  /** The vector is that of another bucket, or of none. */
  forget(): void {
    this.#held = undefined;
  }

  status(): Detection['heldSchema'] {
    return (
      this.#held && {
        version: this.#held.version,
        localVersion: this.#local()?.version ?? 0,
      }
    );
  }

  /**
   * Ends the hold once any version is allowed, or the PowerDNS here is as far. `mergeAgain` then empties the vector, so
   * that the entry comes in like any other; if that fails the hold goes on.
   */
  release(mergeAgain: () => void): void {
    const held = this.#held;
    if (held === undefined) {
      return;
    }
    const { max } = this;
    if ((this.#local()?.timestampNs ?? 0n) > held.timestampNs) {
      // It would lose now.
      this.#held = undefined;
      return;
    }
    if (max !== undefined && held.version > max) {
      return;
    }
    this.#held = undefined;
    try {
      mergeAgain();
    } catch (error) {
      this.#held = held;
      throw error;
    }
  }
}
