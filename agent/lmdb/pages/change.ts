import { areValuesEqual, ValueView } from './value.ts';
import type { PageSource } from './layout.ts';
import type { LeafPage } from './leaf.ts';

/**
 * One entry that differs. One object, reused: every view is borrowed and valid only during the call. A value on
 * overflow pages is read when its buffer is first asked for; its length (`end - start`) costs nothing. The old side means
 * something only with `hasOld`, the new one only with `hasNew`.
 *
 * In a DUPSORT DBI a change is one value of a key that was removed (`hasOld`) or added (`hasNew`), never both.
 */
export interface DiffChange {
  readonly keyBuffer: Buffer;
  readonly keyStart: number;
  readonly keyEnd: number;
  readonly hasOld: boolean;
  readonly oldBuffer: Buffer;
  readonly oldStart: number;
  readonly oldEnd: number;
  readonly hasNew: boolean;
  readonly newBuffer: Buffer;
  readonly newStart: number;
  readonly newEnd: number;
}

/** The one {@link DiffChange} of a diff. */
export class Change implements DiffChange {
  keyBuffer: Buffer = Buffer.alloc(0);
  keyStart = 0;
  keyEnd = 0;
  hasOld = false;
  hasNew = false;
  readonly oldValue: ValueView;
  readonly newValue: ValueView;

  constructor(source: PageSource) {
    this.oldValue = new ValueView(source);
    this.newValue = new ValueView(source);
  }

  showKey(node: LeafPage): void {
    this.keyBuffer = node.buffer;
    this.keyStart = node.keyStart;
    this.keyEnd = node.keyEnd;
  }

  get oldBuffer(): Buffer {
    return this.oldValue.buffer;
  }

  get oldStart(): number {
    return this.oldValue.start;
  }

  get oldEnd(): number {
    return this.oldValue.end;
  }

  get newBuffer(): Buffer {
    return this.newValue.buffer;
  }

  get newStart(): number {
    return this.newValue.start;
  }

  get newEnd(): number {
    return this.newValue.end;
  }

  get areValuesEqual(): boolean {
    return areValuesEqual(this.oldValue, this.newValue);
  }
}
