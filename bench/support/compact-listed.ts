// One run of the compactor over a bucket that only exists as a listing, in a process of its own.
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { compact } from '../../compaction/compact.ts';
import { DEFAULT_POLICY } from '../../compaction/policy.ts';
import { ScratchFolder } from '../../compaction/scratch/scratch-folder.ts';
import { encodeManifest } from '../../protocol/manifest.ts';
import {
  COMPACTED_INSTANCE,
  formatObjectName,
  manifestName,
  parseObjectName,
  streamOf,
} from '../../protocol/object-name.ts';
import { EMPTY_META, entryView, type SnapshotMeta } from '../../protocol/snapshot.ts';
import { SnapshotWriter } from '../../protocol/snapshot-writer.ts';
import { formatNameTime } from '../../protocol/time.ts';
import { bytesBody } from '../../storage/bodies.ts';
import { MemoryObjectStore } from '../../storage/memory.ts';
import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectInfo,
} from '../../storage/object-store.ts';
import { highWaterMb } from './high-water.ts';

/** What the parent asks for. */
export type CompactListedRequest = {
  readonly scratch: string;
  readonly objects: number;
  /** Deltas that a base covers, deltas that nothing covers, or what upstream's instances have left. */
  readonly kind: 'covered' | 'new' | 'upstream';
};

/** What a run took. */
export type CompactListedAnswer = {
  readonly wallMs: number;
  readonly memoryMb: number;
  readonly listedObjects: number;
};

const INSTANCES = 50;
const START_NS = 1_700_000_000_000_000_000n;
const SIGNAL = new AbortController().signal;
/** Few, so that the rows show what listing and planning take, not what folding does. */
const FOLDED_OBJECTS = 1000;

/** Lists names that it makes up as it goes; every object of them has one entry. */
class ListedStore extends MemoryObjectStore {
  readonly #request: CompactListedRequest;

  constructor(request: CompactListedRequest) {
    super();
    this.#request = request;
  }

  override async *list(
    prefix: string,
    options: ListOptions,
  ): AsyncGenerator<ObjectInfo, void, void> {
    yield* super.list(prefix, options);
    for (let i = 0; i < this.#request.objects; i++) {
      // As a listing gives them: a string of its own each.
      const name = Buffer.from(this.#nameOf(i)).toString('latin1');
      const lastModifiedMs = Number(START_NS / 1_000_000n) + i;
      yield { name, sizeBytes: 300, etag: `"${i}"`, lastModifiedMs };
    }
  }

  override async get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    const parsed = parseObjectName(name);
    if (parsed === undefined || parsed.instance === COMPACTED_INSTANCE) {
      return super.get(name, options);
    }
    const { instance, seq, kind, generation } = parsed;
    const bytes = objectBytes({
      ...EMPTY_META,
      databaseName: 'main',
      instance,
      ...(parsed.ours ? { run: generation.slice(1), seq } : {}),
      ...(kind === 'snapshot' && parsed.ours ? { vector: new Map() } : {}),
    });
    return { sizeBytes: bytes.length, etag: '"1"', body: bytesBody(bytes).open() };
  }

  #nameOf(index: number): string {
    const timeNs = START_NS + BigInt(index) * 1_000_000n;
    const seq = Math.floor(index / INSTANCES) + 1;
    const head = `main__host-${index % INSTANCES}__${formatNameTime(timeNs)}`;
    return this.#request.kind === 'upstream'
      ? `${head}__GX.pb.gz`
      : `${head}__Grun${index % INSTANCES}__S${seq}.delta.pb.gz`;
  }
}

function objectBytes(meta: SnapshotMeta): Buffer {
  const chunks: Uint8Array[] = [];
  const writer = new SnapshotWriter((chunk) => chunks.push(chunk));
  writer.begin(meta);
  writer.beginDbi({ name: 'records', flags: 0, transform: '' });
  const key = Buffer.from(`${meta.instance}-${meta.seq}`);
  const value = Buffer.from('value');
  writer.entry(entryView({ key, value, timestampNs: START_NS, deleted: false }));
  writer.endDbi();
  writer.end();
  return gzipSync(Buffer.concat(chunks), { level: 1 });
}

/** A base that covers all that is listed, published a moment ago. */
async function publishBase(store: ListedStore, objects: number): Promise<void> {
  const nowNs = BigInt(Date.now()) * 1_000_000n;
  const base = formatObjectName({
    database: 'main',
    instance: COMPACTED_INSTANCE,
    timeNs: nowNs,
    run: 'base',
    seq: 1n,
    kind: 'base',
  });
  const vector = new Map(
    Array.from({ length: INSTANCES }, (_, i) => [
      streamOf(`host-${i}`, `run${i}`),
      BigInt(objects),
    ]),
  );
  const instance = COMPACTED_INSTANCE;
  const meta = { ...EMPTY_META, databaseName: 'main', instance, run: 'base', seq: 1n, vector };
  await store.put(base, bytesBody(objectBytes(meta)), SIGNAL);
  const manifest = encodeManifest({
    version: 1,
    id: 'bench',
    database: 'main',
    base,
    level1: [],
    vector,
    entries: 1,
    tombstones: 0,
    publishedAtNs: nowNs,
    rejoinBeforeNs: 0n,
  });
  await store.put(manifestName('main'), bytesBody(manifest), SIGNAL);
}

async function main(): Promise<void> {
  const request = JSON.parse(process.argv[2] ?? '{}') as CompactListedRequest;
  const store = new ListedStore(request);
  if (request.kind === 'covered') {
    await publishBase(store, request.objects);
  }
  const folder = await ScratchFolder.open(request.scratch);
  const start = performance.now();
  const { listedObjects } = await compact({
    store,
    database: 'main',
    scratch: folder,
    policy: { ...DEFAULT_POLICY, foldObjectsMax: FOLDED_OBJECTS },
    signal: SIGNAL,
    nowNs: () => BigInt(Date.now()) * 1_000_000n,
    monotonicMs: () => performance.now(),
    random: randomBytes,
    writer: 'bench',
    // One step of what would be many.
    dryRun: request.kind !== 'covered',
  });
  const answer: CompactListedAnswer = {
    wallMs: performance.now() - start,
    memoryMb: highWaterMb(),
    listedObjects,
  };
  await folder.close();
  process.send?.(answer);
  process.disconnect();
}

void main();
