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
  if (a === undefined || b === undefined) return a === b;
  return (
    a.timestampNs === b.timestampNs &&
    a.deleted === b.deleted &&
    Buffer.compare(a.value, b.value) === 0
  );
}

export function show(register: Register | undefined): string {
  if (register === undefined) return 'absent';
  const value = Buffer.from(register.value).toString('latin1');
  const text = value.length > 20 ? `${value.slice(0, 8)}...${value.length}` : value;
  return `${register.deleted ? 'deleted' : `"${text}"`}@${register.timestampNs % 10_000_000_000_000n}`;
}

/** One object as it was stored for the first time. */
export type StoredObject = { readonly object: ObjectName; readonly content: Content };

/** What the checks remember: every object that was ever stored, and the winner of all of them. */
export class Ledger {
  readonly objects = new Map<string, StoredObject>();
  readonly winners: Content = new Map();

  note(object: ObjectName, content: Content): void {
    if (this.objects.has(object.name)) return;
    this.objects.set(object.name, { object, content });
    for (const [key, register] of content) mergeInto(this.winners, key, register);
  }
}
