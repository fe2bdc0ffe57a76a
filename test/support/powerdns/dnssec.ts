import { createPublicKey, verify } from 'node:crypto';
import { encodeName, TYPE, type DnsRecord } from './dns-message.ts';

const ECDSA_P256_SHA256 = 13;
const RRSIG_FIXED_BYTES = 18;

/**
 * The tags of the keys whose signatures over this record set are right; throws where there is a signature that is
 * not, or none. Only ECDSA P-256, PowerDNS's default, and types whose data hold no compressed names.
 * Source: RFC 4034 section 3.1.8, RFC 6605.
 */
export function verifiedBy(
  answers: readonly DnsRecord[],
  options: { readonly type: number; readonly zone: string; readonly keys: readonly DnsRecord[] },
): number[] {
  const { type, zone, keys } = options;
  const records = answers.filter((record) => record.type === type);
  const signatures = answers.filter(
    ({ type: found, data }) => found === TYPE.RRSIG && data.readUInt16BE(0) === type,
  );
  if (records.length === 0 || signatures.length === 0) {
    throw new Error(`${records.length} records with ${signatures.length} signatures in ${zone}`);
  }
  return signatures.map(({ data }) => {
    const tag = data.readUInt16BE(16);
    const key = keys.find((candidate) => keyTag(candidate.data) === tag);
    if (key === undefined) {
      throw new Error(`signed with key ${tag}, which ${zone} does not have`);
    }
    const signer = encodeName(zone);
    const signature = data.subarray(RRSIG_FIXED_BYTES + signer.length);
    const text = signedText(records, data.subarray(0, RRSIG_FIXED_BYTES), signer);
    if (
      !verify('sha256', text, { key: publicKey(key.data), dsaEncoding: 'ieee-p1363' }, signature)
    ) {
      throw new Error(`the signature of key ${tag} in ${zone} is wrong`);
    }
    return tag;
  });
}

/** Source: RFC 4034 appendix B. */
function keyTag(data: Buffer): number {
  let sum = 0;
  for (const [at, byte] of data.entries()) {
    sum += (at & 1) === 0 ? byte << 8 : byte;
  }
  return (sum + (sum >> 16)) & 0xffff;
}

function signedText(records: readonly DnsRecord[], fixed: Buffer, signer: Buffer): Buffer {
  const originalTtl = fixed.subarray(4, 8);
  const bodies = records.map(({ name, type, data }) => {
    const typeAndClass = Buffer.alloc(4);
    typeAndClass.writeUInt16BE(type, 0);
    typeAndClass.writeUInt16BE(1, 2);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(data.length);
    return {
      data,
      bytes: Buffer.concat([encodeName(name), typeAndClass, originalTtl, length, data]),
    };
  });
  bodies.sort((a, b) => a.data.compare(b.data));
  return Buffer.concat([fixed, signer, ...bodies.map(({ bytes }) => bytes)]);
}

function publicKey(data: Buffer) {
  if (data.readUInt8(3) !== ECDSA_P256_SHA256) {
    throw new Error(`algorithm ${data.readUInt8(3)}`);
  }
  const x = data.toString('base64url', 4, 36);
  const y = data.toString('base64url', 36, 68);
  return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
}
