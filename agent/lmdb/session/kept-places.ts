import { ownPlaces } from '../../../protocol/manifest.ts';
import { EMPTY_VECTOR, joinVectors, type VersionVector } from '../../../protocol/version-vector.ts';
import type { PersistOptions } from '../local-database.ts';
import type { SyncState, SyncStateUpdate } from '../sync-state.ts';

/**
 * What stays known of where this host's objects are stored when its vector is emptied, and the engine's note beside it.
 * Both are only ever written with the vector.
 */
export class KeptPlaces {
  readonly #instance: string;
  #was: VersionVector;
  #proof: string | undefined;

  constructor({ was, proof }: Pick<SyncState, 'was' | 'proof'>, instance: string) {
    this.#was = was;
    this.#proof = proof;
    this.#instance = instance;
  }

  get was(): VersionVector {
    return this.#was;
  }

  /** Of a vector that is about to be emptied. */
  keep(positions: VersionVector): void {
    this.#was = joinVectors(this.#was, ownPlaces(positions, this.#instance));
  }

  note({ proof, forgetsWas }: Pick<PersistOptions, 'proof' | 'forgetsWas'>): void {
    this.#proof = proof ?? this.#proof;
    if (forgetsWas === true) {
      this.#was = EMPTY_VECTOR;
    }
  }

  /** It is another bucket. */
  reset(): void {
    this.#was = EMPTY_VECTOR;
    this.#proof = '';
  }

  get update(): Pick<NonNullable<SyncStateUpdate['together']>, 'was' | 'proof'> {
    return { was: this.#was, proof: this.#proof };
  }
}
