/** Names that begin with this are never synced, by upstream neither. */
const PRIVATE_PREFIX = '_sync';

/** Begins the names of shadow DBIs. They are private, too. */
const SHADOW_PREFIX = `${PRIVATE_PREFIX}_shadow_`;

/** True for a DBI that stays on its host: its name begins with `_sync`. */
export function isPrivateDbi(name: string): boolean {
  return name.startsWith(PRIVATE_PREFIX);
}

/** The DBI in which we keep the registers of one of the application's DBIs. Upstream's name for it. */
export function shadowDbiName(dbiName: string): string {
  return SHADOW_PREFIX + dbiName;
}

/** The application's DBI whose registers this one holds; undefined: it is no shadow DBI. */
export function applicationDbiName(shadowName: string): string | undefined {
  return shadowName.startsWith(SHADOW_PREFIX) ? shadowName.slice(SHADOW_PREFIX.length) : undefined;
}
