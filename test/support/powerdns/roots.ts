import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const SET_UP = join(process.cwd(), '.ci/setup-powerdns.sh');
const NOT_HERE_EXIT = 3;

/** A folder to enter by chroot, with PowerDNS in it; or why this machine has none. */
export type PowerDnsRoot =
  | { readonly path: string; readonly missing?: undefined }
  | { readonly path?: undefined; readonly missing: string };

/**
 * PowerDNS with its LMDB backend as Debian's `suite` has it (trixie: 4.9, bookworm: 4.7), installed where missing.
 * Synchronous, because tests that cannot run are skipped by `describe.skip`. Throws when the installation fails.
 */
export function findPowerDns(suite: 'trixie' | 'bookworm'): PowerDnsRoot {
  const { status, stdout, stderr, error } = spawnSync(SET_UP, [suite], {
    encoding: 'utf8',
    timeout: 600_000,
  });
  if (status === 0) {
    return { path: stdout.trim() };
  }
  if (status === NOT_HERE_EXIT) {
    return { missing: stderr.trim() };
  }
  throw new Error(`cannot install PowerDNS: ${error?.message ?? stderr.trim()}`);
}

/** `describe`, or where something is missing a skipped suite that says what in its name. */
export function describeWithPowerDns(
  name: string,
  missing: readonly (string | undefined)[],
  suite: () => void,
): void {
  const reasons = missing.filter((reason) => reason !== undefined);
  if (reasons.length === 0) {
    describe(name, suite);
  } else {
    describe.skip(`${name} (skipped: ${reasons.join('; ')})`, suite);
  }
}
