import type { Command } from 'commander';
import type { CommandContext } from './commands/context.ts';
import { dropShadow } from './commands/drop-shadow.ts';
import { dump, type DumpFlags } from './commands/dump.ts';
import {
  fixDuplicateDomainsCommand,
  migrateTimestampsCommand,
  type FixDuplicateDomainsFlags,
  type MigrateTimestampsFlags,
} from './commands/experimental.ts';
import { stats, type StatsFlags } from './commands/stats.ts';

/** Runs one command with its configuration; given to the tree, so that the tree can be built without running. */
export type Run = (
  command: Command,
  work: (context: CommandContext) => Promise<void>,
) => Promise<void>;

/** The commands that look at the LMDBs, and those that change them without an agent. */
export function addDatabaseCommands(program: Command, run: Run): void {
  program
    .command('stats')
    .description('Print LMDB statistics of all databases.')
    .option('--json', 'one JSON object per database', false)
    .action((flags: StatsFlags, command: Command) =>
      run(command, (context) => stats(context, flags)),
    );
  program
    .command('dump')
    .description('Print all entries of the LMDBs.')
    .option('-n, --name <db>', 'only this database', '')
    .option('-H, --hide', 'hide private DBIs (`_sync*`)', false)
    .option('--json', 'one JSON object per entry', false)
    .action((flags: DumpFlags, command: Command) =>
      run(command, (context) => dump(context, flags)),
    );
  program
    .command('drop-shadow')
    .description(
      'Delete every `_sync*` DBI of every database, without asking; no agent may run on them.',
    )
    .action((_flags: unknown, command: Command) => run(command, dropShadow));
  addExperimentalCommands(program, run);
}

function addExperimentalCommands(program: Command, run: Run): void {
  const experimental = program
    .command('experimental')
    .description('Commands that may change or disappear in any version.');
  experimental
    .command('migrate-timestamps')
    .description(
      'Copy timestamps from one DBI to another by key, where they are later; all or nothing.',
    )
    .requiredOption('-d, --database <db>', 'the database')
    .requiredOption('--src-dbi <dbi>', 'where the timestamps come from')
    .requiredOption('--dst-dbi <dbi>', 'the DBI that gets them; its values have headers')
    .option('--add-delete-entries', 'add a tombstone for each deletion of the source', false)
    .option('--ignore-src-dbi-not-present', 'a missing source DBI is no error', false)
    .action((flags: MigrateTimestampsFlags, command: Command) =>
      run(command, (context) => migrateTimestampsCommand(context, flags)),
    );
  experimental
    .command('pdns-v5-fix-duplicate-domains')
    .description('Find domains with two live ids in the main database of PowerDNS, schema 5.')
    .requiredOption('-d, --database <db>', 'the main database')
    .option('--dangerous-do-rename', 'rename the newer one, for deletion by pdnsutil', false)
    .action((flags: FixDuplicateDomainsFlags, command: Command) =>
      run(command, (context) => fixDuplicateDomainsCommand(context, flags)),
    );
}
