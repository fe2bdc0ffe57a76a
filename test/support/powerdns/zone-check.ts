import { RCODE, TYPE, type DnsType } from './dns-message.ts';
import { verifiedBy } from './dnssec.ts';
import type { PowerDns } from './power-dns.ts';

/** What every host must answer for a zone. */
export type ExpectedZone = {
  readonly name: string;
  /** Full name to IPv4 address; undefined: the name must not exist. */
  readonly addresses: Readonly<Record<string, string | undefined>>;
  /** How many keys it has; 0: it is not signed. */
  readonly keys: number;
  readonly isDeleted?: boolean | undefined;
};

/** Asks this server about the zone; rejects with what is wrong. Signatures are verified with the keys that it serves. */
export async function checkZone(powerDns: PowerDns, zone: ExpectedZone): Promise<void> {
  const { name, addresses, keys: keyCount, isDeleted = false } = zone;
  const dnssec = keyCount > 0;
  const ask = (of: string, type: DnsType) => powerDns.query({ name: of, type, dnssec });
  const soa = await ask(name, 'SOA');
  if (isDeleted) {
    check(soa.rcode === RCODE.refused, `${name} is still there (${soa.rcode})`);
    return;
  }
  check(soa.rcode === RCODE.noError && soa.isAuthoritative, `${name} has SOA rcode ${soa.rcode}`);
  const keySet = (await ask(name, 'DNSKEY')).answers;
  const keys = keySet.filter(({ type }) => type === TYPE.DNSKEY);
  check(keys.length === keyCount, `${name} has ${keys.length} keys, not ${keyCount}`);
  if (dnssec) {
    verifiedBy(keySet, { type: TYPE.DNSKEY, zone: name, keys });
  }
  for (const [owner, address] of Object.entries(addresses)) {
    const answer = await ask(owner, 'A');
    const found = answer.answers
      .filter(({ type }) => type === TYPE.A)
      .map(({ data }) => [...data].join('.'));
    if (address === undefined) {
      check(answer.rcode === RCODE.noSuchName, `${owner} exists: ${found.join()}`);
      // That there is no such name is signed, too.
      const denials = answer.authority.filter(({ type }) => type === TYPE.NSEC);
      check(denials.length > 0 === dnssec, `${denials.length} NSEC records deny ${owner}`);
    } else {
      check(found.join() === address, `${owner} is ${found.join()}, not ${address}`);
      if (dnssec) {
        verifiedBy(answer.answers, { type: TYPE.A, zone: name, keys });
      }
    }
  }
}

function check(isRight: boolean, what: string): void {
  if (!isRight) {
    throw new Error(what);
  }
}
