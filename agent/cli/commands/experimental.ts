import { SyncError } from '../../../protocol/errors.ts';
import { requireDatabase } from '../../config/select-databases.ts';
import { fixDuplicateDomains } from '../../lmdb/offline/duplicate-domains.ts';
import { migrateTimestamps } from '../../lmdb/offline/migrate-timestamps.ts';
import type { CommandContext } from './context.ts';
import { writeEnvironment } from './write-environment.ts';

export type MigrateTimestampsFlags = {
  readonly database: string;
  readonly srcDbi: string;
  readonly dstDbi: string;
  readonly addDeleteEntries: boolean;
  readonly ignoreSrcDbiNotPresent: boolean;
};

/** `experimental migrate-timestamps`: all or nothing, in one write transaction. */
export async function migrateTimestampsCommand(
  context: CommandContext,
  flags: MigrateTimestampsFlags,
): Promise<void> {
  const database = requireDatabase(context.config, flags.database);
  if (flags.srcDbi === flags.dstDbi) {
    throw new SyncError('USAGE', 'source and destination DBI cannot be the same');
  }
  const migration = {
    sourceDbi: latin1(flags.srcDbi),
    targetDbi: latin1(flags.dstDbi),
    addDeleted: flags.addDeleteEntries,
  };
  const done = await writeEnvironment(
    context,
    { database, program: 'experimental migrate-timestamps' },
    (writable) => migrateTimestamps(writable, migration),
  );
  if (done !== undefined) {
    const counts = { n_updated: done.updated, n_added_deletes: done.addedDeletes };
    context.log.info({ db: flags.database, ...counts }, 'Done');
    return;
  }
  if (!flags.ignoreSrcDbiNotPresent) {
    throw new SyncError('USAGE', `there is no DBI ${flags.srcDbi}`, {
      hint: 'See "stats" for the DBIs there are, or use --ignore-src-dbi-not-present.',
    });
  }
  context.log.warn({ db: flags.database }, 'Source DBI not found, no migration performed');
}

export type FixDuplicateDomainsFlags = {
  readonly database: string;
  readonly dangerousDoRename: boolean;
};

/** `experimental pdns-v5-fix-duplicate-domains`: reports, and with the dangerous flag renames the newer ones. */
export async function fixDuplicateDomainsCommand(
  context: CommandContext,
  flags: FixDuplicateDomainsFlags,
): Promise<void> {
  const { log, out, deps } = context;
  const database = requireDatabase(context.config, flags.database);
  const rename = flags.dangerousDoRename
    ? { nowNs: BigInt(Math.round(deps.now())) * 1_000_000n }
    : undefined;
  const { duplicates, toDelete } = await writeEnvironment(
    context,
    { database, program: 'experimental pdns-v5-fix-duplicate-domains' },
    (writable) => fixDuplicateDomains(writable, rename),
  );
  for (const { domain, keptId, newerId } of duplicates) {
    log.error(
      { db: flags.database, domain, keeping_oldest_id: keptId, renaming_newest_id: newerId },
      'Duplicate domain entry',
    );
  }
  if (duplicates.length > 0 && rename === undefined) {
    log.info({}, 'Nothing was changed, because --dangerous-do-rename is not set');
  }
  log.info({ db: flags.database, duplicates: duplicates.length }, 'Done');
  if (toDelete.length > 0) {
    out.write(
      `\nThe following zones need to be removed with \`pdnsutil delete-zone ZONE\`:\n\n${toDelete
        .map((domain) => `- ${domain}\n`)
        .join(
          '',
        )}\nThey do NOT show up in list-all-zones. They stay in this list also when removed.\n`,
    );
  }
}

/** Names of DBIs have one character per byte inside. */
function latin1(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}
