import { readFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { SyncError } from '../../protocol/errors.ts';
import { SnapshotReader, readSnapshot, type SnapshotSink } from '../../protocol/snapshot-reader.ts';
import {
  entryTimestampNs,
  type DbiHeader,
  type EntryView,
  type SnapshotMeta,
  type SnapshotVersions,
} from '../../protocol/snapshot.ts';

/** The folder of the files that upstream wrote; test/fixtures/README.md says what each case is. */
export const FIXTURES = path.join(process.cwd(), 'test', 'fixtures');

/** An entry as the fixtures' JSON has it: hex, decimal text. */
type JsonEntry = { key: string; value: string; timestampNano: string; flags: number };

/** A DBI of a snapshot as the fixtures' JSON has it. */
export type JsonDbi = { name: string; flags: number; transform: string; entries: JsonEntry[] };

/** A decoded snapshot as the fixtures' JSON has it. */
export type JsonSnapshot = {
  snapshot: string;
  formatVersion: number;
  compatVersion: number;
  meta: Record<string, string>;
  dbis: JsonDbi[];
};

/** The parsed JSON of a fixture. */
export function fixtureJson(...parts: string[]): unknown {
  return JSON.parse(readFileSync(path.join(FIXTURES, ...parts), 'utf8'));
}

/** The bytes of a fixture. */
export function fixtureBytes(...parts: string[]): Buffer {
  return readFileSync(path.join(FIXTURES, ...parts));
}

/** Everything that a reader gave out, DBI messages of one name joined. */
export class CollectingSink implements SnapshotSink {
  meta: SnapshotMeta | undefined;
  versions: SnapshotVersions | undefined;
  readonly dbis: JsonDbi[] = [];
  messages = 0;
  #current: JsonDbi | undefined;

  onMeta(meta: SnapshotMeta, versions: SnapshotVersions): void {
    if (this.meta !== undefined) {
      throw new Error('onMeta was called twice');
    }
    this.meta = meta;
    this.versions = versions;
  }

  onDbi(dbi: DbiHeader): void {
    if (this.meta === undefined || this.#current !== undefined) {
      throw new Error('onDbi was called out of order');
    }
    this.messages++;
    this.#current = this.dbis.find((known) => known.name === dbi.name);
    if (this.#current === undefined) {
      this.#current = { ...dbi, entries: [] };
      this.dbis.push(this.#current);
    }
  }

  onEntry(entry: EntryView): void {
    if (this.#current === undefined) {
      throw new Error('onEntry was called outside of a DBI');
    }
    this.#current.entries.push(jsonEntry(entry));
  }

  onDbiEnd(): void {
    this.#current = undefined;
  }
}

/** The values of a view in the fixtures' notation. */
function jsonEntry(view: EntryView): JsonEntry {
  const hex = (start: number, end: number): string =>
    Buffer.from(view.buffer.subarray(start, end)).toString('hex');
  return {
    key: hex(view.keyStart, view.keyEnd),
    value: hex(view.valueStart, view.valueEnd),
    timestampNano: entryTimestampNs(view).toString(),
    flags: view.flags,
  };
}

/** Bytes as a stream of chunks. */
export async function* chunksOf(bytes: Uint8Array, chunkBytes = 65536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    yield await Promise.resolve(bytes.subarray(at, at + chunkBytes));
  }
}

/** Reads a compressed object into a {@link CollectingSink}. */
export async function readObject(bytes: Uint8Array): Promise<CollectingSink> {
  const sink = new CollectingSink();
  await readSnapshot(chunksOf(bytes), sink);
  return sink;
}

/** Parses decompressed bytes in one call, or in chunks of a size. */
export function parseBytes(bytes: Uint8Array, chunkBytes = bytes.length): CollectingSink {
  const sink = new CollectingSink();
  const reader = new SnapshotReader(sink);
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    reader.push(bytes.subarray(at, at + chunkBytes));
  }
  reader.end();
  return sink;
}

/** Decompressed bytes of a fixture's snapshot. */
export function fixtureMessage(...parts: string[]): Buffer {
  return gunzipSync(fixtureBytes(...parts));
}

/** The code of the SyncError that the work ends with, or "done"; anything else thrown is a bug and goes on. */
export async function errorCodeOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'done';
  } catch (error) {
    if (error instanceof SyncError) {
      return error.code;
    }
    throw error;
  }
}
