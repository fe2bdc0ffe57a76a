import type { SnapshotSink } from '../../../protocol/snapshot-reader.ts';
import {
  entryTimestampNs,
  type DbiHeader,
  type EntryView,
  type SnapshotMeta,
  type SnapshotVersions,
} from '../../../protocol/snapshot.ts';
import { FLAG_DELETED } from '../../../protocol/value-header.ts';
import { encodeVectorJson } from '../../../protocol/version-vector.ts';
import { formatDbiFlags } from '../../config/value-types.ts';
import type { BufferedOutput } from './context.ts';
import type { DbiChoice } from './dbi-choice.ts';

/** An object's contents as JSON lines: the head, each DBI, each entry. Bytes are in hexadecimal, 64-bit numbers text. */
export class JsonDumpSink implements SnapshotSink {
  readonly #out: BufferedOutput;
  readonly #choice: DbiChoice;
  #entryHead: string | undefined;

  constructor(out: BufferedOutput, choice: DbiChoice) {
    this.#out = out;
    this.#choice = choice;
  }

  onMeta(meta: SnapshotMeta, { formatVersion, compatVersion }: SnapshotVersions): void {
    const { timestampNs, lmdbTxnId, fromLmdbTxnId, seq, vector } = meta;
    this.#line({
      format_version: formatVersion,
      compat_version: compatVersion,
      generation: meta.generationId,
      instance: meta.instance,
      hostname: meta.hostname,
      database: meta.databaseName,
      txn_id: String(lmdbTxnId),
      from_txn_id: String(fromLmdbTxnId),
      time_ns: String(timestampNs),
      run: meta.run,
      seq: seq === undefined ? undefined : String(seq),
      vector: vector === undefined ? undefined : encodeVectorJson(vector),
      schema_mode: meta.schemaMode,
      writer: meta.writer,
    });
  }

  onDbi({ name, flags, transform }: DbiHeader): void {
    const isShown = this.#choice.takes(name);
    this.#entryHead = isShown ? JSON.stringify({ dbi: name }).slice(0, -1) : undefined;
    if (isShown) {
      this.#line({ dbi: name, flags: formatDbiFlags(flags), transform });
    }
  }

  onEntry(entry: EntryView): void {
    const head = this.#entryHead;
    if (head === undefined) {
      return;
    }
    const { buffer, byteOffset, length } = entry.buffer;
    const bytes = Buffer.from(buffer, byteOffset, length);
    const key = bytes.toString('hex', entry.keyStart, entry.keyEnd);
    const value = bytes.toString('hex', entry.valueStart, entry.valueEnd);
    const deleted = (entry.flags & FLAG_DELETED) !== 0;
    this.#out.write(
      `${head},"key":"${key}","value":"${value}","time_ns":"${entryTimestampNs(entry)}","deleted":${deleted}}\n`,
    );
  }

  onDbiEnd(): void {
    this.#entryHead = undefined;
  }

  /** Only odd files have it: what the entries before it did not know of their DBI. */
  onLateDbiHeader({ name, flags, transform }: DbiHeader): void {
    if (this.#choice.takes(name)) {
      this.#line({ dbi: name, flags: formatDbiFlags(flags), transform });
    }
  }

  #line(value: object): void {
    this.#out.write(`${JSON.stringify(value)}\n`);
  }
}
