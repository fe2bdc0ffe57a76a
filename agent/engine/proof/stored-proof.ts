import * as z from 'zod';
import {
  basePositionOf,
  isBasePosition,
  isEarlierBasePosition,
  type Manifest,
} from '../../../protocol/manifest.ts';
import { type StreamId, instanceOfStream } from '../../../protocol/object-name.ts';
import {
  EMPTY_VECTOR,
  encodeVectorJson,
  joinVectors,
  vectorSchema,
  type VersionVector,
} from '../../../protocol/version-vector.ts';

/** What a pass has found out about the published state. */
export type SeenBase =
  /** Its objects are stored, as far as this pass can tell. */
  | { readonly kind: 'stored'; readonly manifest: Manifest }
  /** One of its objects is gone or damaged although the manifest still names it. */
  | { readonly kind: 'lost'; readonly manifest: Manifest; readonly name: string }
  /** There is no manifest. */
  | { readonly kind: 'none' }
  /** The manifest cannot be read. */
  | { readonly kind: 'unknown' };

/** When a host that has seen a published state go stores its own: all of them at once would be much. */
const SPREAD_MS = 5 * 60 * 1000;

const savedSchema = z.object({
  isDue: z.boolean(),
  lineage: z.string(),
  proven: vectorSchema,
});

/**
 * What proves that the objects of this instance are stored somewhere, and whether all that this LMDB holds must be stored
 * again, because a published state is gone that may have been the only place of it.
 *
 * Kept in the LMDB as a note: it holds until an unmarked full snapshot is acknowledged.
 */
export class StoredProof {
  readonly #instance: string;
  readonly #clock: { readonly nowMs: () => number; readonly random: () => number };
  #isDue = false;
  #dueAtMs: number | undefined;
  /** Own positions that manifests of this lineage have had, also of streams that have left them since. */
  #lineage = '';
  #proven: VersionVector = EMPTY_VECTOR;
  #revision = 0;

  constructor(
    saved: string | undefined,
    options: {
      readonly instance: string;
      readonly nowMs: () => number;
      readonly random: () => number;
    },
  ) {
    this.#instance = options.instance;
    this.#clock = options;
    const note = parseSaved(saved);
    if (note !== undefined) {
      this.#isDue = note.isDue;
      this.#lineage = note.lineage;
      this.#proven = note.proven;
    }
  }

  /** As text to be kept. */
  get saved(): string {
    const proven = encodeVectorJson(this.#proven);
    return JSON.stringify({ isDue: this.#isDue, lineage: this.#lineage, proven });
  }

  /** Another number after every change. */
  get revision(): number {
    return this.#revision;
  }

  /** A published state is lost, and what this LMDB holds is not stored again yet: nothing may be deleted. */
  get isDue(): boolean {
    return this.#isDue;
  }

  /** It is time to store it. */
  get isPressing(): boolean {
    if (!this.#isDue) {
      return false;
    }
    this.#dueAtMs ??= this.#clock.nowMs() + SPREAD_MS * this.#clock.random();
    return this.#clock.nowMs() >= this.#dueAtMs;
  }

  /** To be called in each pass, with what this host once knew to be stored. */
  review(base: SeenBase, known: VersionVector): void {
    if (base.kind === 'unknown') {
      return;
    }
    if (base.kind !== 'none') {
      this.#noteProven(base.manifest, known);
    }
    if (isLost(base, known)) {
      this.#isDue = true;
      this.#revision += 1;
    }
  }

  /**
   * What this manifest proves of the own streams. A number that its compactor reached by closing a gap proves nothing, nor
   * does a manifest whose objects are gone.
   */
  provenBy(base: SeenBase): VersionVector {
    if (base.kind !== 'stored') {
      return EMPTY_VECTOR;
    }
    const firm = firmPositions(base.manifest, this.#instance);
    const isSame = base.manifest.lineage?.id === this.#lineage;
    return isSame ? joinVectors(firm, this.#proven) : firm;
  }

  /** An unmarked full snapshot of this LMDB is stored. */
  noteStored(): void {
    if (this.#isDue) {
      this.#isDue = false;
      this.#revision += 1;
    }
    this.#dueAtMs = undefined;
  }

  /** It is another bucket. */
  forget(): void {
    this.#isDue = false;
    this.#lineage = '';
    this.#proven = EMPTY_VECTOR;
    this.#revision += 1;
  }

  #noteProven(manifest: Manifest, known: VersionVector): void {
    const id = manifest.lineage?.id ?? '';
    if (id !== this.#lineage) {
      this.#lineage = id;
      this.#proven = EMPTY_VECTOR;
      this.#revision += 1;
    }
    const firm = firmPositions(manifest, this.#instance);
    const still = [...this.#proven].filter(([stream]) => known.has(stream));
    const next = joinVectors(new Map(still), firm);
    if (next.size !== this.#proven.size || [...next].some(([s, n]) => this.#proven.get(s) !== n)) {
      this.#proven = next;
      this.#revision += 1;
    }
  }
}

function firmPositions(manifest: Manifest, instance: string): VersionVector {
  return new Map(
    [...manifest.vector].filter(
      ([stream]) => instanceOfStream(stream) === instance && manifest.assumed?.has(stream) !== true,
    ),
  );
}

/** This LMDB has merged a published state that is not there any more, nor one that was built on it. */
function isLost(base: SeenBase, known: VersionVector): boolean {
  const places = [...known.keys()].filter(
    // States of earlier rules tell no lineage: a later one may well be built on them.
    (stream): stream is StreamId => isBasePosition(stream) && !isEarlierBasePosition(stream),
  );
  if (places.length === 0 || base.kind === 'unknown') {
    return false;
  }
  if (base.kind === 'none') {
    return true;
  }
  const { lineage } = base.manifest;
  if (lineage === undefined) {
    return false;
  }
  const current = basePositionOf(base.manifest).stream;
  return places.some((place) => place !== current) || base.kind === 'lost';
}

function parseSaved(saved: string | undefined): z.infer<typeof savedSchema> | undefined {
  try {
    const parsed = savedSchema.safeParse(JSON.parse(saved ?? ''));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
