import {
  COMPACTED_INSTANCE,
  formatObjectName,
  streamOf,
  type StreamId,
} from '../../../protocol/object-name.ts';
import type { SnapshotMeta } from '../../../protocol/snapshot.ts';
import { formatNameTime, MAX_TIMESTAMP_NS } from '../../../protocol/time.ts';
import type { VersionVector } from '../../../protocol/version-vector.ts';
import type { SeededRandom } from '../../support/random.ts';

/** The instance that means harm. Its rights end at names with this in them. */
export const ADVERSARY = 'mallory';

const MAX_NUMBER = 0xffff_ffff_ffff_ffffn;
const DAY_NS = 86_400_000_000_000n;
const MANY_STREAMS = 5000;
/** More than an object may have: a reader refuses it. */
const TOO_MANY_STREAMS = 260_000;
const TOO_MANY_RATE = 0.01;

/** What an adversary can know of the others: the names in the bucket. */
export type Known = {
  readonly database: string;
  readonly nowNs: bigint;
  /** Streams of others, with the highest number that was seen. */
  readonly streams: readonly (readonly [StreamId, bigint])[];
};

/** A name with the adversary's instance in it, and whatever it likes in all other parts. */
export function drawName(random: SeededRandom, known: Known, ownSeq: bigint): string {
  const { database, nowNs, streams } = known;
  const timeNs = random.pick([nowNs, nowNs, nowNs - DAY_NS, nowNs + 100n * DAY_NS, 1n]);
  // Runs of others, too: streams are an instance's own all the same.
  const others = streams.map(([stream]) => stream.slice(stream.lastIndexOf('.') + 1));
  const run = random.pick(['evil1', 'evil1', 'evil2', ...others.slice(-2)]);
  const seq = random.pick([ownSeq, ownSeq, ownSeq, 1n, 2n, ownSeq + 5n, 2n ** 63n, MAX_NUMBER]);
  const kind = random.weighted({ snapshot: 5, delta: 5, base: 1, upstream: 1 });
  if (kind === 'upstream' || run === 'X') {
    return `${database}__${ADVERSARY}__${formatNameTime(timeNs)}__GX.pb.gz`;
  }
  // A mark says that nobody has to read it.
  const marked = kind === 'snapshot' && random.chance(0.3);
  return formatObjectName({ database, instance: ADVERSARY, timeNs, run, seq, kind, marked });
}

/** What `Meta` says: mostly what fits the name, and whatever it likes of everybody else. */
export function drawMeta(
  random: SeededRandom,
  known: Known,
  own: { readonly run: string; readonly seq: bigint },
): Partial<SnapshotMeta> {
  const { database, nowNs } = known;
  const isMadeUp = random.chance(0.1);
  const other = random.pick(known.streams.length > 0 ? known.streams : [[OWN, 1n] as const])[0];
  return {
    instance: isMadeUp ? other.slice(0, other.lastIndexOf('.')) : ADVERSARY,
    run: isMadeUp && random.chance(0.5) ? 'other' : own.run,
    seq: isMadeUp && random.chance(0.5) ? MAX_NUMBER : own.seq,
    databaseName: random.chance(0.05) ? 'elsewhere' : database,
    timestampNs: random.pick([nowNs, 0n, MAX_TIMESTAMP_NS]),
    lmdbTxnId: random.pick([1n, MAX_NUMBER]),
    vector: random.chance(0.9) ? drawVector(random, known, own) : undefined,
    rejoinBeforeNs: random.pick([
      undefined,
      0n,
      nowNs,
      nowNs + DAY_NS,
      nowNs + 3650n * DAY_NS,
      MAX_TIMESTAMP_NS,
    ]),
    schemaMode: random.pick([undefined, 'native', 'native', 'shadow', 'of the future']),
    writer: 'mallory',
  };
}

const OWN = streamOf(ADVERSARY, 'evil1');

function drawVector(
  random: SeededRandom,
  { streams }: Known,
  own: { readonly run: string; readonly seq: bigint },
): VersionVector {
  const vector = new Map<StreamId, bigint>();
  const share = random.pick([0, 0.5, 1, 1]);
  for (const [stream, seen] of streams) {
    if (random.chance(share)) {
      vector.set(stream, random.pick([seen, seen, seen + 1n, seen + 20n, 2n ** 63n, MAX_NUMBER]));
    }
  }
  // Streams that are still to come, as far as they can be guessed: here they are counted, elsewhere they are random.
  const guesses = share > 0 ? 20 : 0;
  for (let run = 1; run <= guesses; run += 1) {
    vector.set(streamOf(random.pick(['a', 'b', 'c']), `run${run}`), MAX_NUMBER);
  }
  for (const [instance, run] of [
    [COMPACTED_INSTANCE, 'x1'],
    ['upstream', 'X'],
  ] as const) {
    if (random.chance(0.3)) {
      vector.set(streamOf(instance, run), MAX_NUMBER);
    }
  }
  const madeUp = random.pick([0, 0, 0, 3, MANY_STREAMS]);
  const count = random.chance(TOO_MANY_RATE) ? TOO_MANY_STREAMS : madeUp;
  for (let at = 0; at < count; at += 1) {
    vector.set(streamOf(`m${at}`, 'x'), BigInt(at + 1));
  }
  vector.set(streamOf(ADVERSARY, own.run), random.pick([own.seq, own.seq, MAX_NUMBER]));
  return vector;
}
