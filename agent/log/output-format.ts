/** A size with base 1024 and one decimal; a unit is used from strictly more than one of it: `1024 B`, `1.5 KB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB', 'PB', 'EB'];
  let power = 0;
  let rest = bytes;
  while (rest > 1024 && power < units.length - 1) {
    rest /= 1024;
    power++;
  }
  return power === 0 ? `${bytes} B` : `${rest.toFixed(1)} ${units[power] ?? ''}`;
}

/** Times before this are taken for something else than the timestamp of a value header: 2022-01-01. */
const EARLIEST_TIME_NS = 1_640_995_200_000_000_000n;
const MONTH_NS = 30n * 86_400n * 1_000_000_000n;
/** Up to this length the bytes are shown in hexadecimal too. */
const SHORT = 8;

/** ` 0f` for every byte value: a dump makes no array per entry. */
const HEX = Array.from({ length: 256 }, (_, byte) => ` ${byte.toString(16).padStart(2, '0')}`);

/**
 * Bytes for people: printable ASCII, `.` for the rest; then in brackets the hex dump where something was not
 * printable, where it is short, or where it begins with a time (as value headers do), which follows then.
 *
 * Source: PowerDNS/lightningstream, `utils/utils.go`, `DisplayASCII`.
 */
export function formatByteString(bytes: Uint8Array, nowNs: bigint): string {
  let shown = '';
  let printable = true;
  for (const byte of bytes) {
    if (byte >= 0x20 && byte < 0x7f) {
      shown += String.fromCharCode(byte);
    } else {
      shown += '.';
      printable = false;
    }
  }
  const timeNs = leadingTime(bytes, nowNs);
  if (printable && bytes.length > SHORT && timeNs === undefined) {
    return shown;
  }
  let hex = '';
  for (const byte of bytes) {
    hex += HEX[byte];
  }
  const time = timeNs === undefined ? '' : ` (${formatRfc3339Ns(timeNs)})`;
  return `${shown} [${hex.slice(1)}]${time}`;
}

function leadingTime(bytes: Uint8Array, nowNs: bigint): bigint | undefined {
  if (bytes.length < 8) {
    return undefined;
  }
  const time = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0);
  return time >= EARLIEST_TIME_NS && time <= nowNs + MONTH_NS ? time : undefined;
}

/** RFC 3339 in UTC, with as many digits as it takes: `2023-11-14T22:13:20Z`, `2023-11-14T22:13:20.5Z`. */
function formatRfc3339Ns(timeNs: bigint): string {
  return `${dateAndTime(timeNs).join('T')}Z`;
}

/** A time as Go prints it: `2023-11-14 22:13:20 +0000 UTC`. */
export function formatGoTime(timeNs: bigint): string {
  return `${dateAndTime(timeNs).join(' ')} +0000 UTC`;
}

/** How long ago, to the second: `26513h50m47s`. */
export function formatAge(timeNs: bigint, nowNs: bigint): string {
  const ageNs = nowNs - timeNs;
  const sign = ageNs < 0n ? '-' : '';
  // Whole seconds as bigints: the age of a time in the year 2554 does not fit in a double's nanoseconds.
  const seconds = ((ageNs < 0n ? -ageNs : ageNs) + 500_000_000n) / 1_000_000_000n;
  const hours = seconds / 3600n;
  const minutes = (seconds / 60n) % 60n;
  const parts = hours > 0n ? `${hours}h${minutes}m` : minutes > 0n ? `${minutes}m` : '';
  return `${sign}${parts}${seconds % 60n}s`;
}

/** A 64-bit timestamp can lie in the year 2554; a Date holds that. */
function dateAndTime(timeNs: bigint): [string, string] {
  const iso = new Date(Number(timeNs / 1_000_000n)).toISOString();
  const fraction = (timeNs % 1_000_000_000n).toString().padStart(9, '0').replace(/0+$/, '');
  return [iso.slice(0, 10), iso.slice(11, 19) + (fraction === '' ? '' : `.${fraction}`)];
}
