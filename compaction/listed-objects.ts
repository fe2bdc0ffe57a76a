import {
  type InstanceId,
  type ObjectKind,
  type ObjectName,
  type StreamId,
  parseObjectName,
} from '../protocol/object-name.ts';
import { formatNameTime } from '../protocol/time.ts';
import type { ObjectInfo } from '../storage/object-store.ts';

/** A listed object whose name parses. */
export type StoredObject = ObjectName & Pick<ObjectInfo, 'sizeBytes' | 'lastModifiedMs'>;

/** What the objects of one kind in a stream have in common: held once. */
type NameHead = Pick<
  ObjectName,
  'database' | 'instance' | 'stream' | 'generation' | 'ours' | 'kind' | 'marked'
>;

const FIRST_COLUMN_LENGTH = 1024;

/**
 * The objects of a listing, numbers in columns: some 90 bytes each. As plain objects 500,000 of them took
 * 570 MB of heap, since each held its name in parts.
 */
export class ListedObjects {
  #times = new BigUint64Array(FIRST_COLUMN_LENGTH);
  #numbers = new BigUint64Array(FIRST_COLUMN_LENGTH);
  #sizes = new Float64Array(FIRST_COLUMN_LENGTH);
  #modified = new Float64Array(FIRST_COLUMN_LENGTH);
  #count = 0;
  readonly #heads = new Map<string, NameHead>();

  /** Takes an object in. */
  add(name: ObjectName, { sizeBytes, lastModifiedMs }: ObjectInfo): StoredObject {
    const at = this.#count;
    if (at === this.#times.length) {
      this.#grow();
    }
    this.#count += 1;
    this.#times[at] = name.timeNs;
    this.#numbers[at] = name.seq;
    this.#sizes[at] = sizeBytes;
    this.#modified[at] = lastModifiedMs;
    const head = this.#headOf(name);
    // A name with parts of its own cannot be made again from the numbers.
    const given = nameOf(head, name.timeNs, name.seq) === name.name ? undefined : name.name;
    return new ListedObject(this, { head, at, given });
  }

  timeNs(at: number): bigint {
    return this.#times[at] ?? 0n;
  }

  seq(at: number): bigint {
    return this.#numbers[at] ?? 0n;
  }

  sizeBytes(at: number): number {
    return this.#sizes[at] ?? 0;
  }

  lastModifiedMs(at: number): number {
    return this.#modified[at] ?? 0;
  }

  #headOf(name: ObjectName): NameHead {
    const { database, instance, stream, generation, ours, kind, marked } = name;
    const key = `${kind} ${marked} ${stream}`;
    const known = this.#heads.get(key);
    if (known?.generation === generation && known.ours === ours) {
      return known;
    }
    const head = { database, instance, stream, generation, ours, kind, marked };
    this.#heads.set(key, head);
    return head;
  }

  #grow(): void {
    const length = this.#times.length * 2;
    const times = new BigUint64Array(length);
    times.set(this.#times);
    this.#times = times;
    const numbers = new BigUint64Array(length);
    numbers.set(this.#numbers);
    this.#numbers = numbers;
    const sizes = new Float64Array(length);
    sizes.set(this.#sizes);
    this.#sizes = sizes;
    const modified = new Float64Array(length);
    modified.set(this.#modified);
    this.#modified = modified;
  }
}

class ListedObject implements StoredObject {
  readonly #objects: ListedObjects;
  readonly #head: NameHead;
  readonly #at: number;
  readonly #given: string | undefined;

  constructor(
    objects: ListedObjects,
    place: { readonly head: NameHead; readonly at: number; readonly given: string | undefined },
  ) {
    this.#objects = objects;
    this.#head = place.head;
    this.#at = place.at;
    this.#given = place.given;
  }

  get name(): string {
    return this.#given ?? nameOf(this.#head, this.timeNs, this.seq);
  }

  get timeNs(): bigint {
    return this.#objects.timeNs(this.#at);
  }

  get seq(): bigint {
    return this.#objects.seq(this.#at);
  }

  get sizeBytes(): number {
    return this.#objects.sizeBytes(this.#at);
  }

  get lastModifiedMs(): number {
    return this.#objects.lastModifiedMs(this.#at);
  }

  get database(): string {
    return this.#head.database;
  }

  get instance(): InstanceId {
    return this.#head.instance;
  }

  get stream(): StreamId {
    return this.#head.stream;
  }

  get generation(): string {
    return this.#head.generation;
  }

  get ours(): boolean {
    return this.#head.ours;
  }

  get kind(): ObjectKind {
    return this.#head.kind;
  }

  get marked(): boolean {
    return this.#head.marked;
  }

  get extras(): readonly string[] {
    return parseObjectName(this.name)?.extras ?? [];
  }
}

const EXTENSION_OF = { snapshot: 'pb.gz', delta: 'delta.pb.gz', base: 'base.pb.gz' } as const;

/** The name that most objects with these parts have. */
function nameOf(head: NameHead, timeNs: bigint, seq: bigint): string {
  const { database, instance, generation, ours, kind } = head;
  const number = ours ? `__S${seq}` : '';
  const time = formatNameTime(timeNs);
  return `${database}__${instance}__${time}__${generation}${number}.${EXTENSION_OF[kind]}`;
}
