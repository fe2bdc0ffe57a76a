import type { SeededRandom } from '../support/random.ts';

/** Lengths, counts and tags that parsers tend to compare with. */
const INTERESTING = [0, 1, 7, 8, 16, 0x1f, 0x20, 0x7e, 0x7f, 0x80, 0x81, 0xfe, 0xff] as const;
/** Lengths in protobuf's notation: a gigabyte, 2^31 - 1, 2^32 - 1, 2^53, 2^64 - 1, one that never ends. */
const VARINTS = [
  [0x80, 0x80, 0x80, 0x80, 0x04],
  [0xff, 0xff, 0xff, 0xff, 0x07],
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
] as const;
const MOST_STEPS = 6;

export type Mutation = {
  readonly random: SeededRandom;
  readonly dictionary: readonly Uint8Array[];
  /** Another input, parts of which may be taken. */
  readonly other: Uint8Array;
  readonly maxBytes: number;
};

/** Changes an input in one to six places. */
export function mutate(input: Uint8Array, mutation: Mutation): Uint8Array {
  let bytes: Buffer = Buffer.from(input);
  for (let left = 1 + mutation.random.below(MOST_STEPS); left > 0; left -= 1) {
    bytes = step(bytes, mutation);
  }
  return bytes.subarray(0, mutation.maxBytes);
}

function step(bytes: Buffer, { random, dictionary, other }: Mutation): Buffer {
  const at = random.below(bytes.length + 1);
  const place = Math.min(at, Math.max(bytes.length - 1, 0));
  const length = 1 + random.below(random.chance(0.2) ? 64 : 8);
  switch (random.below(11)) {
    case 0:
      if (bytes.length > 0) {
        bytes[place] = (bytes[place] ?? 0) ^ (1 << random.below(8));
      }
      return bytes;
    case 1:
      if (bytes.length > 0) {
        bytes[place] = random.below(256);
      }
      return bytes;
    case 2:
      if (bytes.length > 0) {
        bytes[place] = random.pick(INTERESTING);
      }
      return bytes;
    case 3:
      if (bytes.length > 0) {
        bytes[place] = (bytes[place] ?? 0) + (random.chance(0.5) ? 1 : 255);
      }
      return bytes;
    case 4:
      return splice(bytes, at, length, Buffer.of());
    case 5:
      return splice(bytes, at, 0, random.bytes(length));
    case 6:
      return splice(bytes, at, 0, bytes.subarray(at, at + length));
    case 7:
      return splice(bytes, at, random.chance(0.5) ? 1 : 0, Buffer.from(random.pick(VARINTS)));
    case 8: {
      const word = dictionary.length > 0 ? random.pick(dictionary) : random.bytes(length);
      return splice(bytes, at, random.chance(0.5) ? word.length : 0, word);
    }
    case 9: {
      const from = random.below(other.length + 1);
      return splice(
        bytes,
        at,
        random.chance(0.5) ? length : 0,
        other.subarray(from, from + length),
      );
    }
    default:
      // The first part of one and the last part of the other.
      return Buffer.concat([bytes.subarray(0, at), other.subarray(random.below(other.length + 1))]);
  }
}

function splice(bytes: Buffer, at: number, removed: number, put: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + removed)]);
}
