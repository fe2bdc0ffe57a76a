/** The record types that the tests ask for. */
export const TYPE = {
  A: 1,
  NS: 2,
  SOA: 6,
  TXT: 16,
  OPT: 41,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
} as const;
export type DnsType = keyof typeof TYPE;

export const RCODE = { noError: 0, serverFailure: 2, noSuchName: 3, refused: 5 } as const;

export type DnsRecord = {
  /** Lower case, with the final dot. */
  readonly name: string;
  readonly type: number;
  readonly ttl: number;
  /** As it was sent; names in it may be compressed. */
  readonly data: Buffer;
};

export type DnsMessage = {
  readonly id: number;
  readonly rcode: number;
  readonly isAuthoritative: boolean;
  readonly isTruncated: boolean;
  readonly answers: readonly DnsRecord[];
  readonly authority: readonly DnsRecord[];
};

const HEADER_BYTES = 12;
const FLAG_DO = 0x8000;
const UDP_BYTES_MAX = 1232;

/** A query for one name and type, with EDNS and, where `dnssec`, the DO bit. */
export function encodeQuery(query: {
  readonly id: number;
  readonly name: string;
  readonly type: DnsType;
  readonly dnssec: boolean;
}): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(query.id, 0);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(1, 10);
  const question = Buffer.alloc(4);
  question.writeUInt16BE(TYPE[query.type], 0);
  question.writeUInt16BE(1, 2);
  const options = Buffer.alloc(11);
  options.writeUInt16BE(TYPE.OPT, 1);
  options.writeUInt16BE(UDP_BYTES_MAX, 3);
  options.writeUInt16BE(query.dnssec ? FLAG_DO : 0, 7);
  return Buffer.concat([header, encodeName(query.name), question, options]);
}

/** A name in wire form, lower-cased, without compression. */
export function encodeName(name: string): Buffer {
  const labels = name.toLowerCase().replace(/\.$/, '').split('.');
  const parts = labels.filter((label) => label !== '').map((label) => Buffer.from(label));
  return Buffer.concat([
    ...parts.flatMap((label) => [Buffer.of(label.length), label]),
    Buffer.of(0),
  ]);
}

/** Reads an answer. Throws where it is no DNS message. */
export function decodeMessage(bytes: Buffer): DnsMessage {
  const flags = bytes.readUInt16BE(2);
  let at = HEADER_BYTES;
  for (let i = 0; i < bytes.readUInt16BE(4); i += 1) {
    at = readName(bytes, at).next + 4;
  }
  const section = (count: number): DnsRecord[] => {
    const records: DnsRecord[] = [];
    for (let i = 0; i < count; i += 1) {
      const { name, next } = readName(bytes, at);
      const length = bytes.readUInt16BE(next + 8);
      const start = next + 10;
      at = start + length;
      if (at > bytes.length) {
        throw new Error('a record that ends behind its message');
      }
      records.push({
        name,
        type: bytes.readUInt16BE(next),
        ttl: bytes.readUInt32BE(next + 4),
        data: bytes.subarray(start, at),
      });
    }
    return records;
  };
  return {
    id: bytes.readUInt16BE(0),
    rcode: flags & 15,
    isAuthoritative: (flags & 0x400) !== 0,
    isTruncated: (flags & 0x200) !== 0,
    answers: section(bytes.readUInt16BE(6)),
    authority: section(bytes.readUInt16BE(8)),
  };
}

function readName(bytes: Buffer, from: number): { name: string; next: number } {
  const labels: string[] = [];
  let at = from;
  let next: number | undefined;
  for (let hops = 0; hops < 64;) {
    const length = bytes.readUInt8(at);
    if (length === 0) {
      return { name: `${labels.join('.')}.`.toLowerCase(), next: next ?? at + 1 };
    }
    if (length < 64) {
      labels.push(bytes.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    } else {
      next ??= at + 2;
      at = bytes.readUInt16BE(at) & 0x3fff;
      hops += 1;
    }
  }
  throw new Error('a name that points in circles');
}
