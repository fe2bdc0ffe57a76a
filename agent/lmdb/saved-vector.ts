import { createHash } from 'node:crypto';
import type { StreamId } from '../../protocol/object-name.ts';
import {
  decodeVectorJson,
  EMPTY_VECTOR,
  streamIdSchema,
  type VersionVector,
} from '../../protocol/version-vector.ts';
import { VECTOR_KEYS_PER_TXN } from './limits.ts';
import { PageCursor } from './pages/cursor.ts';
import type { DataFile, DbRecord } from './pages/data-file.ts';
import {
  encodeState,
  parseBigint,
  parseNumber,
  stateText,
  SYNC_STATE_DBI,
  VECTOR_PREFIX,
} from './state-value.ts';
import type { WriteTxn } from './write-txn.ts';

/** The whole vector as JSON, as earlier versions kept it. While it is there, it alone counts. */
const OLD_KEY = Buffer.from('vector', 'latin1');
const GENERATION_KEY = Buffer.from('generation', 'latin1');
const PREFIX = Buffer.from(VECTOR_PREFIX, 'latin1');
/** The highest number that a stream can reach. */
const MAX_SEQ = 0xffff_ffff_ffff_ffffn;
/** LMDB takes keys of 511 bytes. */
const MAX_STREAM_BYTES = 511 - VECTOR_PREFIX.length;

/** What the keys of one state say. */
type StoredVector = {
  readonly positions: Map<StreamId, bigint>;
  /** Streams whose key says something else, or nothing that counts. */
  readonly unsaved: Set<StreamId>;
  readonly generation: number;
  readonly hasOldKey: boolean;
};

/**
 * The version vector of one LMDB, and what of it the LMDB does not hold yet. `_sync_state` has one key per stream.
 *
 * A position is a fact about the LMDB's content. It may be written later than the content, never before it. So keys
 * are written a bounded number at a time, and a lagging key only means that something is merged again.
 *
 * Each value names its generation, and only those of the newest count. So the vector is emptied by one key, however
 * many streams it has. The others are removed, or replaced, with the next transactions.
 */
export class SavedVector {
  readonly #positions: Map<StreamId, bigint>;
  readonly #unsaved: Set<StreamId>;
  #generation: number;
  #isGenerationSaved: boolean;
  #hasOldKey: boolean;
  /** What the old key says must not count any more, written anew or not. */
  #isOldKeyVoid = false;

  private constructor(stored: StoredVector, isGenerationSaved: boolean) {
    this.#positions = stored.positions;
    this.#unsaved = stored.unsaved;
    this.#generation = stored.generation;
    this.#hasOldKey = stored.hasOldKey;
    this.#isGenerationSaved = isGenerationSaved;
  }

  /**
   * As of one root. Damaged values count as missing. Reads and parses every key, so it is for the start only.
   * A vector of an earlier version is taken over, key by key, with the next transactions.
   */
  static read(file: DataFile, record: DbRecord | undefined): SavedVector {
    const stored = record === undefined ? undefined : readStored(file, record);
    if (stored === undefined) {
      const none = { positions: new Map(), unsaved: new Set<StreamId>() };
      return new SavedVector({ ...none, generation: 0, hasOldKey: false }, true);
    }
    // Keys beside the old one are of before a downgrade, or of a takeover that was cut off. A generation of their own
    // keeps what they say from counting, once the old key is gone.
    return new SavedVector(stored, !stored.hasOldKey);
  }

  /** What is known, written or not. It goes on changing: copy what must stay. */
  get positions(): VersionVector {
    return this.#positions;
  }

  /** The LMDB holds all of it, and nothing else. */
  get isSaved(): boolean {
    return this.#unsaved.size === 0 && this.#isGenerationSaved && !this.#hasOldKey;
  }

  /** Those of the positions that are above what is known. */
  rising(vector: VersionVector): VersionVector {
    const rising = new Map<StreamId, bigint>();
    for (const [stream, seq] of vector) {
      if (seq > (this.#positions.get(stream) ?? 0n)) {
        rising.set(stream, seq);
      }
    }
    return rising;
  }

  /** Joins positions whose content is in the LMDB. */
  join(vector: VersionVector): void {
    for (const [stream, seq] of vector) {
      if (seq > (this.#positions.get(stream) ?? 0n)) {
        this.#positions.set(stream, seq);
        this.#unsaved.add(stream);
      }
    }
  }

  /** Forgets streams that are over. */
  drop(streams: Iterable<StreamId>): void {
    for (const stream of streams) {
      if (this.#positions.delete(stream)) {
        this.#unsaved.add(stream);
      }
    }
  }

  /** Forgets everything. */
  empty(): void {
    if (this.#positions.size === 0 && this.isSaved) {
      return;
    }
    for (const stream of this.#positions.keys()) {
      this.#unsaved.add(stream);
    }
    this.#positions.clear();
    this.#generation += 1;
    this.#isGenerationSaved = false;
    this.#isOldKeyVoid = true;
  }

  /**
   * Writes what is not written yet, and `rising`, which is above what is known: some hundred keys at most. The DBI must
   * exist, or have been created in this transaction. What it returns is to be called after the commit.
   */
  save(txn: WriteTxn, rising: VersionVector = EMPTY_VECTOR): () => void {
    if (!this.#isGenerationSaved) {
      txn.put(SYNC_STATE_DBI, GENERATION_KEY, encodeState(txn, String(this.#generation)));
    }
    const done: StreamId[] = [];
    let isWhole = true;
    for (const [stream, seq] of rising) {
      if (done.length >= VECTOR_KEYS_PER_TXN) {
        isWhole = false;
        break;
      }
      this.#put(txn, stream, seq);
      done.push(stream);
    }
    for (const stream of this.#unsaved) {
      if (done.length >= VECTOR_KEYS_PER_TXN) {
        isWhole = false;
        break;
      }
      if (!rising.has(stream)) {
        this.#putKnown(txn, stream);
        done.push(stream);
      }
    }
    const dropsOldKey = this.#hasOldKey && (isWhole || this.#isOldKeyVoid);
    if (dropsOldKey) {
      txn.remove(SYNC_STATE_DBI, OLD_KEY);
    }
    return () => {
      this.#isGenerationSaved = true;
      this.#hasOldKey &&= !dropsOldKey;
      this.join(rising);
      for (const stream of done) {
        this.#unsaved.delete(stream);
      }
    };
  }

  #putKnown(txn: WriteTxn, stream: StreamId): void {
    const seq = this.#positions.get(stream);
    if (seq === undefined) {
      txn.remove(SYNC_STATE_DBI, vectorKey(stream).key);
    } else {
      this.#put(txn, stream, seq);
    }
  }

  #put(txn: WriteTxn, stream: StreamId, seq: bigint): void {
    const { key, named } = vectorKey(stream);
    txn.put(SYNC_STATE_DBI, key, encodeState(txn, `${this.#generation} ${seq}${named}`));
  }
}

function vectorKey(stream: StreamId): { key: Buffer; named: string } {
  const bytes = Buffer.from(stream, 'utf8');
  if (bytes.length <= MAX_STREAM_BYTES) {
    return { key: Buffer.concat([PREFIX, bytes]), named: '' };
  }
  // Too long for a key, as a name of an object may be: the value names it.
  const hash = createHash('sha256').update(bytes).digest('hex');
  return { key: Buffer.from(`${VECTOR_PREFIX}${hash}`, 'latin1'), named: ` ${stream}` };
}

function readStored(file: DataFile, record: DbRecord): StoredVector {
  const texts = new Map<string, string>();
  const positions = new Map<StreamId, bigint>();
  const unsaved = new Set<StreamId>();
  const found: { stream: StreamId; generation: number; seq: bigint }[] = [];
  const cursor = new PageCursor(file, record);
  while (cursor.next()) {
    const text = stateText(cursor.valueBuffer, cursor.valueStart, cursor.valueEnd);
    const key = cursor.keyBuffer.toString('utf8', cursor.keyStart, cursor.keyEnd);
    if (!key.startsWith(VECTOR_PREFIX)) {
      texts.set(key, text ?? '');
      continue;
    }
    const [, generation = '', seq = '', named] = /^(\d+) (\d+)(?: (.+))?$/s.exec(text ?? '') ?? [];
    const stream = streamIdSchema.safeParse(named ?? key.slice(VECTOR_PREFIX.length));
    if (stream.success) {
      found.push({
        stream: stream.data,
        generation: parseNumber(generation) ?? -1,
        seq: parseBigint(seq) ?? 0n,
      });
    }
  }
  const old = texts.get('vector');
  const generation = parseNumber(texts.get('generation')) ?? 0;
  for (const { stream, generation: own, seq } of found) {
    if (old === undefined && own === generation && seq <= MAX_SEQ) {
      positions.set(stream, seq);
    } else {
      unsaved.add(stream);
    }
  }
  if (old === undefined) {
    return { positions, unsaved, generation, hasOldKey: false };
  }
  for (const [stream, seq] of parseOldVector(old)) {
    positions.set(stream, seq);
    unsaved.add(stream);
  }
  return { positions, unsaved, generation: generation + 1, hasOldKey: true };
}

function parseOldVector(text: string): VersionVector {
  try {
    return decodeVectorJson(JSON.parse(text));
  } catch {
    return EMPTY_VECTOR;
  }
}
