import type { Scratch, ScratchFile } from '../../compaction/scratch/scratch.ts';
import type { CompactionReport } from '../../compaction/report.ts';
import { MemoryObjectStore } from '../../storage/memory.ts';
import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutIfOptions,
} from '../../storage/object-store.ts';
import {
  MemoryScratch,
  TestCompactor,
  TestWriter,
  entry,
  testRandom,
  type TestDbi,
} from '../support/compaction.ts';

/** What things take in a world without other clocks. */
export type Speeds = {
  /** Milliseconds of every request. */
  readonly latencyMs: number;
  /** Bytes per millisecond from the store, to it, and into the scratch space: that stands for merging. */
  readonly down: number;
  readonly up: number;
  readonly merge: number;
  /** A body that nobody reads for longer is cut off. */
  readonly idleLimitMs?: number;
};

/** A bucket, its writers and a compactor, whose clock moves with what they do. */
export class SlowWorld {
  nowMs = 0;
  readonly store = new MemoryObjectStore();
  readonly compactor: TestCompactor;
  readonly scratch: MemoryScratch;
  speeds: Speeds;

  constructor(
    speeds: Speeds,
    options: { readonly policy?: object; readonly roomBytes?: number } = {},
  ) {
    this.speeds = speeds;
    this.scratch = new MemoryScratch({ roomBytes: options.roomBytes ?? Number.POSITIVE_INFINITY });
    this.compactor = new TestCompactor(this.store, options.policy ?? {});
  }

  writer(instance: string): TestWriter {
    return new TestWriter(this.store, { instance, run: `r${instance}` });
  }

  /** One run of at most so many milliseconds; without a bound where there is none. */
  async run(timeMs?: number): Promise<CompactionReport> {
    return this.compactor.run({
      store: slowStore(this),
      scratch: slowScratch(this),
      monotonicMs: () => this.nowMs,
      deadlineMs: timeMs === undefined ? undefined : this.nowMs + timeMs,
    });
  }

  /** Runs until nothing is left; undefined if that takes more than `most` runs. */
  async runsUntilDone(timeMs: number, most: number): Promise<number | undefined> {
    for (let runs = 1; runs <= most; runs++) {
      const { leftObjects } = await this.run(timeMs);
      if (leftObjects === 0) {
        return runs;
      }
    }
    return undefined;
  }
}

/** Entries that do not compress: so many, of so many bytes together. */
export function content(
  dbi: string,
  first: number,
  size: { count: number; bytes: number },
): TestDbi[] {
  const valueBytes = Math.ceil(size.bytes / size.count);
  const entries = Array.from({ length: size.count }, (_, i) => {
    const key = `k${String(first + i).padStart(8, '0')}`;
    return entry(
      key,
      Buffer.from(testRandom(valueBytes)).toString('latin1'),
      BigInt(first + i + 1),
    );
  });
  return [{ name: dbi, entries }];
}

function slowStore(world: SlowWorld): ObjectStore {
  const { store } = world;
  const call = <T>(act: () => Promise<T>): Promise<T> => {
    world.nowMs += world.speeds.latencyMs;
    return act();
  };
  return {
    async *list(prefix: string, options: ListOptions): AsyncIterable<ObjectInfo> {
      world.nowMs += world.speeds.latencyMs;
      yield* store.list(prefix, options);
    },
    get: (name: string, options: GetOptions) =>
      call(async () => {
        const fetched = await store.get(name, options);
        return fetched && { ...fetched, body: slowBody(world, fetched) };
      }),
    create: (name: string, body: ObjectBody, signal: AbortSignal) =>
      call(() => store.create(name, uploaded(world, body), signal)),
    put: (name: string, body: ObjectBody, signal: AbortSignal) =>
      call(() => store.put(name, uploaded(world, body), signal)),
    putIfUnchanged: (name: string, bytes: Uint8Array, options: PutIfOptions) =>
      call(() => store.putIfUnchanged(name, bytes, options)),
    delete: (name: string, signal: AbortSignal) => call(() => store.delete(name, signal)),
    close: () => store.close(),
  };
}

const PIECE_BYTES = 16 * 1024;

async function* slowBody(world: SlowWorld, { body }: FetchedObject): AsyncGenerator<Uint8Array> {
  const { down, idleLimitMs = Number.POSITIVE_INFINITY } = world.speeds;
  for await (const chunk of body) {
    for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
      const piece = chunk.subarray(at, at + PIECE_BYTES);
      world.nowMs += piece.length / down;
      const readAtMs = world.nowMs;
      yield piece;
      if (world.nowMs - readAtMs > idleLimitMs) {
        throw new Error('the request socket timed out: nobody has read for too long');
      }
    }
  }
}

function uploaded(world: SlowWorld, body: ObjectBody): ObjectBody {
  return {
    sizeBytes: body.sizeBytes,
    async *open() {
      for await (const chunk of body.open()) {
        world.nowMs += chunk.length / world.speeds.up;
        yield chunk;
      }
    },
  };
}

function slowScratch(world: SlowWorld): Scratch {
  const { scratch } = world;
  return {
    freeBytes: () => scratch.freeBytes(),
    async create(): Promise<ScratchFile> {
      const file = await scratch.create();
      return {
        get sizeBytes() {
          return file.sizeBytes;
        },
        write(chunk: Uint8Array) {
          world.nowMs += chunk.length / world.speeds.merge;
          return file.write(chunk);
        },
        finish: () => file.finish(),
        open: () => file.open(),
        remove: () => file.remove(),
      };
    },
  };
}
