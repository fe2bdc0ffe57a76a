import { mergeRegisters, type Register } from '../../protocol/register.ts';
import type { ObjectName } from '../../protocol/object-name.ts';

/** Registers by `DBI/key`. */
export type Content = Map<string, Register>;

/** Puts the winner of both. */
export function mergeInto(content: Content, key: string, register: Register): void {
  const known = content.get(key);
  content.set(key, known === undefined ? register : mergeRegisters(known, register));
}

/** True if `wanted` would replace what is there. */
export function lacks(
  content: ReadonlyMap<string, Register>,
  key: string,
  wanted: Register,
): boolean {
  const have = content.get(key);
  return have === undefined || (!equal(have, wanted) && mergeRegisters(have, wanted) === wanted);
}

export function equal(a: Register | undefined, b: Register | undefined): boolean {
  if (a === undefined || b === undefined) {
    return a === b;
  }
  return (
    a.timestampNs === b.timestampNs &&
    a.deleted === b.deleted &&
    Buffer.compare(a.value, b.value) === 0
  );
}

export function show(register: Register | undefined): string {
  if (register === undefined) {
    return 'absent';
  }
  const value = Buffer.from(register.value).toString('latin1');
  const text = value.length > 20 ? `${value.slice(0, 8)}...${value.length}` : value;
  return `${register.deleted ? 'deleted' : `"${text}"`}@${register.timestampNs % 10_000_000_000_000n}`;
}

/** One object as it was stored for the first time. */
export type StoredObject = { readonly object: ObjectName; readonly content: Content };

/** The shortest retention of anybody who drops tombstones, and how far clocks are apart at most. */
export type Dropping = { readonly retentionNs: bigint; readonly skewNs: bigint };

/** What the checks remember of a database: every object that was ever stored, and the winner of all of them. */
export class Ledger {
  readonly objects = new Map<string, StoredObject>();
  readonly winners: Content = new Map();
  readonly #newestTombstones = new Map<string, bigint>();
  /**
   * Keys whose deletion came into the bucket later than it may: hosts that were long in step may have dropped the
   * tombstone of another one by then. Nothing is promised of them.
   */
  readonly late = new Set<string>();
  /** The winners of what an adversary has stored. Whoever holds one of them, or lacks it, is no worse for it. */
  readonly #hostile: Content = new Map();
  readonly #dropping: Dropping | undefined;
  readonly #nowNs: () => bigint;

  constructor(options: { dropping?: Dropping | undefined; nowNs: () => bigint } = NEVER_DROPPED) {
    this.#dropping = options.dropping;
    this.#nowNs = options.nowNs;
  }

  note(object: ObjectName, content: Content): void {
    if (this.objects.has(object.name)) {
      return;
    }
    this.objects.set(object.name, { object, content });
    for (const [key, register] of content) {
      mergeInto(this.winners, key, register);
      if (register.deleted) {
        this.#noteTombstone(key, register.timestampNs);
      }
      // The first contact of a host that kept no times: its own old entry may be under a tombstone dropped long ago.
      else if (register.timestampNs <= 1n && this.#dropping !== undefined) {
        this.late.add(key);
      }
    }
  }

  /** An adversary has stored this: where it wins, it wins by the rules. */
  noteHostile(key: string, register: Register): void {
    mergeInto(this.#hostile, key, register);
  }

  /**
   * True where an entry of an adversary may stand in the place of `wanted`: it is newer, or the tombstone that beats
   * it may have been dropped, or nobody else has written there.
   */
  isContested(key: string, wanted: Register | undefined): boolean {
    const hostile = this.#hostile.get(key);
    if (hostile === undefined) {
      return false;
    }
    if (wanted === undefined || this.mayBeDropped(wanted) || equal(hostile, wanted)) {
      return true;
    }
    return mergeRegisters(hostile, wanted) === hostile;
  }

  /** Everything in the bucket is gone. */
  forget(): void {
    this.objects.clear();
    this.winners.clear();
  }

  /** An LMDB that was never synced holds these: a tombstone of another host may be gone before it comes. */
  noteFirstContact(content: Content): void {
    const { retentionNs } = this.#dropping ?? {};
    const now = this.#nowNs();
    for (const [key, { timestampNs }] of content) {
      if (retentionNs !== undefined && timestampNs < now - retentionNs / 2n) {
        this.late.add(key);
      }
    }
  }

  /** What was stored may be gone, but for what comes back from those who hold it. */
  forgetWinners(): void {
    this.winners.clear();
  }

  /** Lacking this is a violation. An old tombstone may be missing; what it deleted must not be there. */
  isLost(content: ReadonlyMap<string, Register>, key: string, wanted: Register): boolean {
    if (this.late.has(key) || !lacks(content, key, wanted) || this.isContested(key, wanted)) {
      return false;
    }
    const have = content.get(key);
    return this.mayBeDropped(wanted) ? have !== undefined && !have.deleted : true;
  }

  mayBeDropped({ deleted, timestampNs }: Register): boolean {
    return deleted && this.#isOld(timestampNs);
  }

  /** A newer deletion of this key may have been dropped already, and this entry with it. */
  mayBeSwept(key: string, { timestampNs }: Register): boolean {
    const deletedNs = this.#newestTombstones.get(key);
    return deletedNs !== undefined && deletedNs >= timestampNs && this.#isOld(deletedNs);
  }

  #isOld(timestampNs: bigint): boolean {
    if (this.#dropping === undefined) {
      return false;
    }
    const { retentionNs, skewNs } = this.#dropping;
    return timestampNs < this.#nowNs() - retentionNs + skewNs;
  }

  #noteTombstone(key: string, timestampNs: bigint): void {
    const known = this.#newestTombstones.get(key) ?? 0n;
    if (timestampNs > known) {
      this.#newestTombstones.set(key, timestampNs);
    }
    const dropping = this.#dropping;
    if (dropping !== undefined && this.#nowNs() - timestampNs > dropping.retentionNs / 8n) {
      this.late.add(key);
    }
  }
}

const NEVER_DROPPED = { nowNs: () => 0n };
