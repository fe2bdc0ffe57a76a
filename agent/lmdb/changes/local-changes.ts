import { ValueMap } from './value-map.ts';
import { KeySet } from './key-set.ts';
import type { Detection } from '../local-database.ts';
import { LeftOut } from './left-out.ts';
import type { ScanResult } from './scan.ts';

/** Local changes, and what is counted of them. */
export interface ChangeFindings {
  readonly pending: KeySet;
  readonly newChanges: number;
  readonly futureEntries: number;
  readonly maxTsNs: bigint;
}

/** What a diff says of local changes. */
export interface DiffFindings extends ChangeFindings {
  /** The winner of each key that a local write replaced by something that loses against it. */
  readonly regressed: ValueMap;
  /** Flags of DBIs that the application dropped. */
  readonly droppedDbis: ReadonlyMap<string, number>;
}

/** What is known of local changes: which are to be sent, which are to be put back, and what was counted on the way. */
export class LocalChanges {
  /** Keys of local changes that no stored object holds. */
  readonly pending: KeySet;
  /** Local values without a valid header. */
  readonly invalid = new Set<string>();
  /** Local entries that no object can carry. */
  readonly leftOut: LeftOut;
  /** Flags of DBIs that the application dropped while a run watched. */
  readonly droppedDbis = new Map<string, number>();
  /** Winners that local writes replaced, not put back yet. */
  regressed = new ValueMap();
  /** The highest time of any entry that was merged or changed. */
  maxTsNs = 0n;
  #changes = 0;
  #regressions = 0;
  #future = 0;

  constructor(pendingBytesMax: number, valueBytesMax?: number) {
    this.leftOut = new LeftOut(valueBytesMax);
    this.pending = new KeySet(pendingBytesMax);
  }

  /** Takes over what a diff found, also one that broke off: what it found is true. */
  addDiff(found: DiffFindings): void {
    this.addRegressions(found);
    this.addChanges(found);
  }

  /** Takes over what is to be put back, also in the middle of a diff. */
  addRegressions({ regressed, droppedDbis }: DiffFindings): void {
    this.addRegressed(regressed);
    for (const [name, flags] of droppedDbis) {
      this.droppedDbis.set(name, flags);
    }
  }

  /** Takes over local changes, also those that we wrote down for the application ourselves. */
  addChanges(found: ChangeFindings): void {
    this.pending.addAll(found.pending);
    this.#changes += found.newChanges;
    this.#future += found.futureEntries;
    this.raiseMaxTs(found.maxTsNs);
  }

  addRegressed(winners: ValueMap): void {
    for (const { dbiName, key, value } of winners.entries()) {
      this.regressed.set(dbiName, key, value);
      this.pending.add(dbiName, key);
    }
  }

  /** Forgets what is known of a DBI that is left alone from now on. `registers`: its DBI of registers. */
  forgetDbi(dbiName: string, registers: string): void {
    this.pending.deleteDbi(registers);
    this.regressed.deleteDbi(dbiName);
    for (const entry of this.invalid) {
      if (entry.startsWith(`${dbiName}\0`) || entry.startsWith(`${registers}\0`)) {
        this.invalid.delete(entry);
      }
    }
  }

  addScan(scan: ScanResult): void {
    this.pending.addAll(scan.pending);
    this.#changes += scan.changes;
    this.raiseMaxTs(scan.maxTsNs);
  }

  countPutBack(count: number): void {
    this.#regressions += count;
  }

  raiseMaxTs(maxTsNs: bigint): void {
    if (maxTsNs > this.maxTsNs) {
      this.maxTsNs = maxTsNs;
    }
  }

  /** The part of a detection that comes from here. */
  detection(): Omit<
    Detection,
    'txnId' | 'dataTxnId' | 'hasData' | 'vectorForgotten' | 'refusedDbis' | 'unnamedData'
  > {
    return {
      pendingKeys: this.pending.size,
      pendingBytes: this.pending.bytes,
      pendingScan: this.pending.overflowed,
      newChanges: this.#changes,
      regressions: this.#regressions,
      futureEntries: this.#future,
      maxTsNs: this.maxTsNs,
      invalidValues: this.invalid.size,
      leftOut: this.leftOut.summary,
    };
  }

  /** What is counted per look begins anew. */
  resetCounts(): void {
    this.#changes = 0;
    this.#regressions = 0;
    this.#future = 0;
  }
}
