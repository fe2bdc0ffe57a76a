import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { SnapshotReader, readSnapshot, type SnapshotSink } from '../protocol/snapshot-reader.ts';
import { SnapshotWriter } from '../protocol/snapshot-writer.ts';
import { EMPTY_META, type EntryView } from '../protocol/snapshot.ts';
import type { BenchOptions, Row } from './support/row.ts';

const KEY_BYTES = 20;
/** 44 bytes in LMDB: 24 of header, which stays there, and 20 of the application's. */
const APPLICATION_BYTES = 20;
const ROUNDS = 7;
/** Per 1,000,000 entries. */
const BUDGET_MS = 150;

/** Encodes and decodes entries of 44-byte values, warm, medians of 7 rounds. Budget: 150 ms per 1,000,000, gzip aside. */
export async function run({ records }: BenchOptions): Promise<Row[]> {
  let blocks: Uint8Array[] = [];
  const encodeMs = await median(() => {
    blocks = encode(records);
  });
  const message = Buffer.concat(blocks);
  const sink = new CountingSink();
  const chunks = cut(message, 256 * 1024);
  const decodeMs = await median(() => {
    const reader = new SnapshotReader(sink);
    for (const chunk of chunks) {
      reader.push(chunk);
    }
    reader.end();
  });
  const object = gzipSync(message, { level: 1 });
  const objectMs = await median(() => readSnapshot(pieces(object), sink));
  assert.equal(sink.entries, 2 * (ROUNDS + 1) * records);
  const what = `${records.toLocaleString('en')} entries of 44 bytes`;
  const target = (BUDGET_MS * records) / 1_000_000;
  return [
    { name: `snapshot encode, ${what}`, value: Math.round(encodeMs), unit: 'ms', target },
    { name: 'snapshot encode rate', value: rate(message.length, encodeMs), unit: 'MB/s' },
    { name: `snapshot decode, ${what}`, value: Math.round(decodeMs), unit: 'ms', target },
    { name: 'snapshot decode rate', value: rate(message.length, decodeMs), unit: 'MB/s' },
    { name: `snapshot gunzip and decode, ${what}`, value: Math.round(objectMs), unit: 'ms' },
  ];
}

class CountingSink implements SnapshotSink {
  entries = 0;
  bytes = 0;
  onMeta(): void {}
  onDbi(): void {}
  onDbiEnd(): void {}
  onEntry(entry: EntryView): void {
    this.entries++;
    this.bytes += entry.valueEnd - entry.keyStart;
  }
}

function encode(records: number): Uint8Array[] {
  const blocks: Uint8Array[] = [];
  const writer = new SnapshotWriter((block) => blocks.push(block));
  const buffer = Buffer.alloc(KEY_BYTES + APPLICATION_BYTES, 'value of a record ');
  const entry: EntryView = {
    buffer,
    keyStart: 0,
    keyEnd: KEY_BYTES,
    valueStart: KEY_BYTES,
    valueEnd: buffer.length,
    timeHi: 0x17979cfe,
    timeLo: 0,
    flags: 0,
  };
  writer.begin({ ...EMPTY_META, instance: 'bench' });
  writer.beginDbi({ name: 'records', flags: 0, transform: '' });
  for (let i = 0; i < records; i++) {
    buffer.writeUInt32BE(i, KEY_BYTES - 4);
    buffer.writeUInt32BE(Math.imul(i, 2654435761) >>> 0, KEY_BYTES);
    entry.timeLo = i;
    writer.entry(entry);
  }
  writer.endDbi();
  writer.end();
  return blocks;
}

async function median(work: () => void | Promise<void>): Promise<number> {
  await work();
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    await work();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[ROUNDS >> 1] ?? Number.NaN;
}

function rate(bytes: number, ms: number): number {
  return Math.round(bytes / 1e3 / ms);
}

function cut(bytes: Uint8Array, size: number): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    chunks.push(bytes.subarray(at, at + size));
  }
  return chunks;
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (const piece of cut(bytes, 64 * 1024)) {
    yield await Promise.resolve(piece);
  }
}
