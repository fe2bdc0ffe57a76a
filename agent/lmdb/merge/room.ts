import { SyncError } from '../../../protocol/errors.ts';
import { PageCursor } from '../pages/cursor.ts';
import { listDbis, type DataFile, type DbRecord, type Meta } from '../pages/data-file.ts';
import { NODE_HEADER_BYTES, PAGE_HEADER_BYTES } from '../pages/layout.ts';

const MIB = 1024 ** 2;
/** Of the map, the part that merges leave to the application. */
const RESERVED_PART = 1 / 32;
/** The same at most: a large map needs no more to go on for a while. */
const RESERVED_MAX_BYTES = 16 * MIB;
/** Where little room is left, one transaction still does that much; the reserve of a map of 1 MiB is twice as large. */
const MIN_PAGES_PER_TXN = 4;
/** Each node has a slot in the head of its page. */
const SLOT_BYTES = 2;
/** Source: mdb.c, MDB_MINKEYS: a node that is larger than this part of a page puts its value elsewhere. */
const NODES_PER_PAGE = 2;
/** The number of the page where the value is, in place of the value. */
const PAGE_NUMBER_BYTES = 8;

/** What a merge may still add to an LMDB. */
export type Room = {
  /** In pages that no tree uses, less what is kept for the application; below 0 some of that is used, too. */
  readonly freeBytes: number;
};

/**
 * The room of a committed state. Pages that an open read transaction still pins count as free, for they will be, and
 * so do pages of duplicates: the room is never less than it says.
 */
export function roomOf(file: DataFile, meta: Meta): Room {
  const { pageSize, mapSizeBytes, mainDb, freeDb } = meta;
  let used = 2 + pagesOf(mainDb) + pagesOf(freeDb);
  for (const record of listDbis(file, meta).values()) {
    used += pagesOf(record);
  }
  const reservedBytes = Math.min(mapSizeBytes * RESERVED_PART, RESERVED_MAX_BYTES);
  const pages = Math.floor(mapSizeBytes / pageSize) - used;
  return { freeBytes: pages * pageSize - reservedBytes };
}

function pagesOf({ branchPages, leafPages, overflowPages }: DbRecord): number {
  return branchPages + leafPages + overflowPages;
}

/** The bytes that an entry takes in the pages of its tree: in its leaf, and in pages of its own where it is large. */
export function entryBytes(keyBytes: number, valueBytes: number, pageSize: number): number {
  const inLeaf = NODE_HEADER_BYTES + SLOT_BYTES + keyBytes + valueBytes;
  if (inLeaf <= (pageSize - PAGE_HEADER_BYTES) / NODES_PER_PAGE) {
    return inLeaf;
  }
  const pages = Math.ceil((PAGE_HEADER_BYTES + valueBytes) / pageSize);
  return leafBytes(keyBytes, valueBytes, pageSize) + pages * pageSize;
}

/** Of {@link entryBytes}, what is in the leaf. */
function leafBytes(keyBytes: number, valueBytes: number, pageSize: number): number {
  const inLeaf = NODE_HEADER_BYTES + SLOT_BYTES + keyBytes + valueBytes;
  return inLeaf <= (pageSize - PAGE_HEADER_BYTES) / NODES_PER_PAGE
    ? inLeaf
    : inLeaf - valueBytes + PAGE_NUMBER_BYTES;
}

/**
 * Throws MAP_TOO_SMALL where `growthBytes` more of entries cannot fit into the DBIs of these names.
 *
 * The bound is a lower one, so that nothing is refused that fits: what entries take at least, against free pages and
 * all that is unused within the leaves of their DBIs. What it lets through may still not fit, because leaves are never
 * quite full. Cost: a walk through those DBIs, but only where free pages alone are too few.
 */
export function requireRoom(
  file: DataFile,
  meta: Meta,
  growth: { readonly name: string; readonly bytes: number; readonly dbis: ReadonlySet<string> },
): void {
  const { bytes } = growth;
  const { freeBytes } = roomOf(file, meta);
  if (bytes <= 0 || bytes <= freeBytes) {
    return;
  }
  // Once the reserve is in use, leaves are left to the application, too: a walk at every merge would cost too much.
  const looseBytes = freeBytes < 0 ? 0 : looseBytesOf(file, { meta, names: growth.dbis });
  const missingBytes = bytes - freeBytes - looseBytes;
  if (missingBytes <= 0) {
    return;
  }
  throw tooSmall(meta, {
    what: `cannot merge ${growth.name}, which adds ${shown(bytes)} or more`,
    missingBytes,
    leftBytes: Math.max(0, freeBytes + looseBytes),
  });
}

function tooSmall(
  { mapSizeBytes }: Meta,
  parts: { readonly what: string; readonly missingBytes: number; readonly leftBytes: number },
): SyncError {
  const { what, missingBytes, leftBytes } = parts;
  const enoughBytes = (mapSizeBytes + missingBytes) / (1 - RESERVED_PART);
  return new SyncError(
    'MAP_TOO_SMALL',
    `${what}: the map of ${shown(mapSizeBytes)} has ${shown(leftBytes)} left, besides what is kept for the application; it takes more than ${shown(enoughBytes)}`,
    {
      hint: `Enlarge the map size in the application (PowerDNS: lmdb-map-size) to more than ${shown(enoughBytes)}, and restart it.`,
      retryable: true,
    },
  );
}

function shown(bytes: number): string {
  return `${Math.ceil(bytes / MIB)} MiB`;
}

/**
 * The bytes of entries that one transaction may put, of a set that adds `growthBytes`: so many that it does not come to
 * what is kept for the application, however little its leaves are filled. Throws MAP_TOO_SMALL where a merge has come
 * there. LMDB splits a full leaf in halves, so that ascending keys take twice their bytes.
 */
export function bytesPerTxn(file: DataFile, meta: Meta, growthBytes: number): number {
  const { freeBytes } = roomOf(file, meta);
  if (freeBytes < 0) {
    throw tooSmall(meta, { what: 'cannot go on with a merge', missingBytes: 0, leftBytes: 0 });
  }
  // The pages that it copies stay in use until the next one, hence a third and not a half.
  return growthBytes * 3 <= freeBytes
    ? Infinity
    : Math.max(MIN_PAGES_PER_TXN * meta.pageSize, freeBytes / 3);
}

/** What is unused within the leaves of some DBIs. */
function looseBytesOf(
  file: DataFile,
  { meta, names }: { readonly meta: Meta; readonly names: ReadonlySet<string> },
): number {
  const { pageSize } = meta;
  const dbis = listDbis(file, meta);
  let loose = 0;
  for (const name of names) {
    const record = dbis.get(name);
    if (record === undefined) {
      continue;
    }
    loose += record.leafPages * (pageSize - PAGE_HEADER_BYTES);
    const cursor = new PageCursor(file, record);
    while (cursor.next()) {
      const keyBytes = cursor.keyEnd - cursor.keyStart;
      loose -= leafBytes(keyBytes, cursor.valueEnd - cursor.valueStart, pageSize);
    }
  }
  return loose;
}
