import { isPrivateDbi } from '../../../protocol/dbi-name.ts';
import { PageCursor } from '../../lmdb/pages/cursor.ts';
import { formatByteString } from '../../log/output-format.ts';
import type { Progress } from './progress.ts';
import { shownName } from '../../monitor/status.ts';
import { dumpProgress, type CommandContext } from './context.ts';
import { eachDatabase, type PinnedEnvironment } from './read-environment.ts';

export type DumpFlags = {
  readonly name: string;
  readonly hide: boolean;
  readonly json: boolean;
};

/** `dump`: all entries of the LMDBs, in the order of each DBI, at one moment. */
export async function dump(context: CommandContext, flags: DumpFlags): Promise<void> {
  const nowNs = BigInt(Math.round(context.deps.now())) * 1_000_000n;
  await eachDatabase(context, flags.name, async (name, pinned) => {
    const dbis = [...pinned.dbis].filter(([dbi]) => !(flags.hide && isPrivateDbi(dbi)));
    const total = dbis.reduce((sum, [, { entries }]) => sum + entries, 0);
    using progress = dumpProgress(context, { label: name, total, unit: 'entries' });
    for (const [dbi] of dbis) {
      if (!flags.json) {
        context.out.write(`\n### ${name} :: ${shownName(dbi)}\n\n`);
      }
      const line = flags.json
        ? jsonLine(name, dbi)
        : (key: Buffer, value: Buffer) =>
            `${formatByteString(key, nowNs)}  =  ${formatByteString(value, nowNs)}\n`;
      await dumpDbi(context, { pinned, dbi, line, progress });
    }
  });
}

async function dumpDbi(
  context: CommandContext,
  {
    pinned,
    dbi,
    line,
    progress,
  }: {
    readonly pinned: PinnedEnvironment;
    readonly dbi: string;
    readonly line: (key: Buffer, value: Buffer) => string;
    readonly progress: Progress;
  },
): Promise<void> {
  const record = pinned.dbis.get(dbi);
  if (record === undefined) {
    return;
  }
  const cursor = new PageCursor(pinned.file, record);
  let shown = 0;
  while (cursor.next()) {
    if (context.out.isFull) {
      progress.add(shown);
      shown = 0;
      await context.out.drain();
      context.signal.throwIfAborted();
    }
    const key = cursor.keyBuffer.subarray(cursor.keyStart, cursor.keyEnd);
    const value = cursor.valueBuffer.subarray(cursor.valueStart, cursor.valueEnd);
    context.out.write(line(key, value));
    shown++;
  }
}

/** Bytes in hexadecimal; the value as stored, with its header. */
function jsonLine(database: string, dbi: string): (key: Buffer, value: Buffer) => string {
  const head = JSON.stringify({ database, dbi: shownName(dbi) }).slice(0, -1);
  return (key, value) =>
    `${head},"key":"${key.toString('hex')}","value":"${value.toString('hex')}"}\n`;
}
