import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { errorText, SyncError } from '../../../protocol/errors.ts';
import { readSnapshot, type SnapshotSink } from '../../../protocol/snapshot-reader.ts';
import {
  entryTimestampNs,
  type DbiHeader,
  type EntryView,
  type SnapshotMeta,
  type SnapshotVersions,
} from '../../../protocol/snapshot.ts';
import { encodeVectorJson } from '../../../protocol/version-vector.ts';
import { formatDbiFlags } from '../../config/value-types.ts';
import { formatAge, formatByteString, formatGoTime } from '../../log/output-format.ts';
import { dumpProgress, withStorage, type BufferedOutput, type CommandContext } from './context.ts';
import { DbiChoice } from './dbi-choice.ts';
import { JsonDumpSink } from './snapshots-dump-json.ts';
import { missingObject } from './snapshots-get.ts';

export type SnapshotsDumpFlags = {
  readonly local: boolean;
  readonly dbi: string;
  readonly format: string;
  readonly json: boolean;
};

const PIECE_BYTES = 4096;

/** `snapshots dump`: prints an object's contents in one pass, whatever its size. Errors: USAGE for a DBI it has not. */
export async function snapshotsDump(
  context: CommandContext,
  name: string,
  flags: SnapshotsDumpFlags,
): Promise<void> {
  if (flags.format !== 'debug' && flags.format !== 'text') {
    throw new SyncError('USAGE', `output format not supported: ${flags.format}`, {
      hint: 'Use --format debug.',
    });
  }
  const nowNs = BigInt(Math.round(context.deps.now())) * 1_000_000n;
  const choice = new DbiChoice(flags.dbi);
  const sink = flags.json
    ? new JsonDumpSink(context.out, choice)
    : new DumpSink(context.out, { nowNs, choice });
  await (flags.local ? dumpFile(context, name, sink) : dumpObject(context, name, sink));
  choice.requireFound(name);
}

async function dumpObject(
  context: CommandContext,
  name: string,
  sink: SnapshotSink,
): Promise<void> {
  await withStorage(context, async (store, signal) => {
    const found = await store.get(name, { signal });
    if (found === undefined) {
      throw missingObject(name);
    }
    const total = found.sizeBytes;
    using progress = dumpProgress(context, { label: 'read', total, unit: 'bytes' });
    await readSnapshot(paced(progress.count(found.body), context.out), sink, { signal });
  });
}

async function dumpFile(context: CommandContext, name: string, sink: SnapshotSink): Promise<void> {
  try {
    const total = (await stat(name)).size;
    using progress = dumpProgress(context, { label: 'read', total, unit: 'bytes' });
    const chunks = progress.count(createReadStream(name));
    await readSnapshot(paced(chunks, context.out), sink, { signal: context.signal });
  } catch (error) {
    if (error instanceof SyncError || context.signal.aborted) {
      throw error;
    }
    throw new SyncError('USAGE', `cannot read ${name}: ${errorText(error)}`, { cause: error });
  }
}

/**
 * The input in small pieces, each taken when the output of those before is on its way: the reader cannot wait
 * in the middle of a piece, and compressed bytes can become a hundred times as much text.
 */
async function* paced(
  chunks: AsyncIterable<Uint8Array>,
  out: BufferedOutput,
): AsyncGenerator<Uint8Array, void, void> {
  for await (const chunk of chunks) {
    for (let start = 0; start < chunk.length; start += PIECE_BYTES) {
      yield chunk.subarray(start, start + PIECE_BYTES);
      if (out.isFull) {
        await out.drain();
      }
    }
  }
}

class DumpSink implements SnapshotSink {
  readonly #out: BufferedOutput;
  readonly #nowNs: bigint;
  readonly #choice: DbiChoice;
  #shown = true;

  constructor(
    out: BufferedOutput,
    options: { readonly nowNs: bigint; readonly choice: DbiChoice },
  ) {
    this.#out = out;
    this.#nowNs = options.nowNs;
    this.#choice = options.choice;
  }

  onMeta(meta: SnapshotMeta, versions: SnapshotVersions): void {
    this.#out.write(formatHead(meta, versions));
  }

  onDbi(dbi: DbiHeader): void {
    this.#shown = this.#choice.takes(dbi.name);
    if (this.#shown) {
      const transform = JSON.stringify(dbi.transform);
      const flags = JSON.stringify(formatDbiFlags(dbi.flags));
      this.#out.write(`\n### ${printable(dbi.name)} (transform=${transform}, flags=${flags})\n\n`);
    }
  }

  onEntry(entry: EntryView): void {
    if (!this.#shown) {
      return;
    }
    const { buffer } = entry;
    const timeNs = entryTimestampNs(entry);
    const key = formatByteString(buffer.subarray(entry.keyStart, entry.keyEnd), this.#nowNs);
    const value = formatByteString(buffer.subarray(entry.valueStart, entry.valueEnd), this.#nowNs);
    const flags = entry.flags.toString(16).padStart(2, '0');
    const age = formatAge(timeNs, this.#nowNs);
    this.#out.write(`${key}  =  ${value}  (${formatGoTime(timeNs)}, ${age} ago; flags=${flags})\n`);
  }

  onDbiEnd(): void {
    this.#shown = true;
  }

  onLateDbiHeader(dbi: DbiHeader): void {
    this.#choice.takes(dbi.name);
    const flags = JSON.stringify(formatDbiFlags(dbi.flags));
    this.#out.write(
      `### the DBI above has transform=${JSON.stringify(dbi.transform)}, flags=${flags}\n`,
    );
  }
}

/** JSON with upstream's keys; ours follow where the object has them. Numbers keep all 64 bits. */
function formatHead(meta: SnapshotMeta, versions: SnapshotVersions): string {
  const fields: [string, string][] = [
    ['GenerationID', JSON.stringify(meta.generationId)],
    ['InstanceID', JSON.stringify(meta.instance)],
    ['Hostname', JSON.stringify(meta.hostname)],
    ['LmdbTxnID', meta.lmdbTxnId.toString()],
    ['TimestampNano', meta.timestampNs.toString()],
    ['DatabaseName', JSON.stringify(meta.databaseName)],
    ['FromLmdbTxnID', meta.fromLmdbTxnId.toString()],
  ];
  if (meta.run !== undefined) {
    fields.push(['Run', JSON.stringify(meta.run)]);
  }
  if (meta.seq !== undefined) {
    fields.push(['Seq', meta.seq.toString()]);
  }
  if (meta.vector !== undefined) {
    const vector = JSON.stringify(encodeVectorJson(meta.vector), undefined, 2);
    fields.push(['Vector', vector.replaceAll('\n', '\n    ')]);
  }
  if (meta.schemaMode !== undefined) {
    fields.push(['Schema mode', JSON.stringify(meta.schemaMode)]);
  }
  if (meta.writer !== undefined) {
    fields.push(['Writer', JSON.stringify(meta.writer)]);
  }
  const lines = fields.map(([key, value]) => `    "${key}": ${value}`);
  return [
    '{',
    `  "FormatVersion": ${versions.formatVersion},`,
    `  "CompatVersion": ${versions.compatVersion},`,
    '  "Meta": {',
    lines.join(',\n'),
    '  }',
    '}',
    '',
  ].join('\n');
}

/** A name of a DBI from outside, without control characters. */
function printable(name: string): string {
  return name.replaceAll(/\p{Cc}/gu, '.');
}
