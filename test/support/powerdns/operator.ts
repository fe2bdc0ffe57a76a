import type { PowerDns } from './power-dns.ts';
import type { ExpectedZone } from './zone-check.ts';

/** What becomes of a zone. */
type Fate = 'plain' | 'secured' | 'rolled' | 'deleted';
const FATES: readonly Fate[] = ['plain', 'secured', 'rolled', 'deleted'];

/** Zones are made, changed, signed, given new keys and deleted by the command line tool, one after the other. */
export async function operateByTool(
  powerDns: PowerDns,
  { prefix, count }: { prefix: string; count: number },
): Promise<ExpectedZone[]> {
  const zones: ExpectedZone[] = [];
  for (let i = 0; i < count; i += 1) {
    const fate = FATES[i % FATES.length] as Fate;
    const name = `${prefix}${i}.example`;
    await powerDns.pdnsutil('create-zone', name, `ns1.${name}`);
    await powerDns.pdnsutil('add-record', name, 'www', 'A', '60', '192.0.2.1');
    await powerDns.pdnsutil('add-record', name, 'gone', 'A', '60', '192.0.2.2');
    if (fate !== 'plain') {
      await powerDns.pdnsutil('secure-zone', name);
    }
    await powerDns.pdnsutil('replace-rrset', name, 'www', 'A', '60', `198.51.100.${i}`);
    await powerDns.pdnsutil('delete-rrset', name, 'gone', 'A');
    if (fate === 'rolled') {
      await rollByTool(powerDns, name);
    }
    if (fate === 'deleted') {
      await powerDns.pdnsutil('delete-zone', name);
    } else {
      await powerDns.pdnsutil('rectify-zone', name);
    }
    zones.push(expected(name, { fate, address: `198.51.100.${i}` }));
  }
  return zones;
}

async function rollByTool(powerDns: PowerDns, name: string): Promise<void> {
  const { keys: old } = await keysOf(powerDns, name);
  await powerDns.pdnsutil('add-zone-key', name, 'ksk', 'active', 'published', 'ecdsa256');
  for (const id of old) {
    await powerDns.pdnsutil('remove-zone-key', name, String(id));
  }
}

/** The same by the HTTP API. */
export async function operateByApi(
  powerDns: PowerDns,
  { prefix, count }: { prefix: string; count: number },
): Promise<ExpectedZone[]> {
  const zones: ExpectedZone[] = [];
  for (let i = 0; i < count; i += 1) {
    const fate = FATES[i % FATES.length] as Fate;
    const name = `${prefix}${i}.example`;
    await powerDns.api('POST', '/zones', {
      name: `${name}.`,
      kind: 'Native',
      nameservers: [`ns1.${name}.`],
      dnssec: fate !== 'plain',
      rrsets: [addressSet(`www.${name}.`, '192.0.2.1'), addressSet(`gone.${name}.`, '192.0.2.2')],
    });
    await setAddress(powerDns, name, { owner: `www.${name}`, address: `203.0.113.${i}` });
    await powerDns.api('PATCH', `/zones/${name}.`, {
      rrsets: [{ name: `gone.${name}.`, type: 'A', changetype: 'DELETE' }],
    });
    if (fate === 'rolled') {
      await rollByApi(powerDns, name);
    }
    if (fate === 'deleted') {
      await powerDns.api('DELETE', `/zones/${name}.`);
    }
    zones.push(expected(name, { fate, address: `203.0.113.${i}` }));
  }
  return zones;
}

async function rollByApi(powerDns: PowerDns, name: string): Promise<void> {
  const { keys: old } = await keysOf(powerDns, name);
  const key = { keytype: 'csk', active: true, published: true };
  await powerDns.api('POST', `/zones/${name}./cryptokeys`, key);
  for (const id of old) {
    await powerDns.api('DELETE', `/zones/${name}./cryptokeys/${id}`);
  }
}

/** Replaces one address record by the HTTP API. */
export async function setAddress(
  powerDns: PowerDns,
  zone: string,
  { owner, address }: { owner: string; address: string },
): Promise<void> {
  const set = { ...addressSet(`${owner}.`, address), changetype: 'REPLACE' };
  await powerDns.api('PATCH', `/zones/${zone}.`, { rrsets: [set] });
}

/** The tool writes without a pause until stopped, to find the longest wait; resolves with the last address written. */
export async function probeByTool(
  powerDns: PowerDns,
  { zone, signal }: { zone: string; signal: AbortSignal },
): Promise<ExpectedZone> {
  await powerDns.pdnsutil('create-zone', zone, `ns1.${zone}`);
  let address = '';
  for (let i = 1; !signal.aborted || address === ''; i = (i % 250) + 1) {
    address = `192.0.2.${i}`;
    await powerDns.pdnsutil('replace-rrset', zone, 'www', 'A', '60', address);
  }
  return { name: zone, keys: 0, addresses: { [`www.${zone}`]: address } };
}

async function keysOf(powerDns: PowerDns, name: string): Promise<{ keys: number[] }> {
  const keys = (await powerDns.api('GET', `/zones/${name}./cryptokeys`)) as { id: number }[];
  return { keys: keys.map(({ id }) => id) };
}

function addressSet(name: string, content: string) {
  return { name, type: 'A', ttl: 60, records: [{ content, disabled: false }] };
}

function expected(name: string, { fate, address }: { fate: Fate; address: string }): ExpectedZone {
  return {
    name,
    keys: fate === 'plain' ? 0 : 1,
    isDeleted: fate === 'deleted',
    addresses: { [`www.${name}`]: address, [`gone.${name}`]: undefined },
  };
}
