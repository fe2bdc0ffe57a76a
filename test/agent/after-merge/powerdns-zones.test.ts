import { changedZones, domainKey, zoneNameIn } from '../../../agent/after-merge/powerdns-zones.ts';

const bytes = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const changes = (dbi: string, ...keys: string[]) =>
  new Map([['db', new Map([[dbi, new Set(keys.map((key) => bytes(key).toString('latin1')))]])]]);
const found = (names: string[], ids: number[]) => ({ names: new Set(names), ids: new Set(ids) });

// Keys and objects as PowerDNS 4.9 and 4.7 wrote them.
test('records tell the id of their zone, indexes its name', () => {
  expect(changedZones(changes('records_v5', '7ce4691677777700000001'))).toEqual(
    found([], [0x7ce46916]),
  );
  expect(changedZones(changes('_sync_shadow_records', '04c6c2aa00000002'))).toEqual(
    found([], [0x04c6c2aa]),
  );
  for (const dbi of ['domains_v5_0', 'metadata_v5_0', 'keydata_v5_0']) {
    expect(changedZones(changes(dbi, '000c 6578616d706c65006e657700 7ce46916'))).toEqual(
      found(['new.example.'], []),
    );
  }
  const pair = '6578616d706c65006e65773200 00000000 aac2c604 0d';
  expect(changedZones(changes('_sync_shadow_domains_0', pair))).toEqual(
    found(['new2.example.'], []),
  );
  expect(changedZones(changes('domains_v5_0', '0001 00 00000001'))).toEqual(found(['.'], []));
});

test('signs that names seldom have are escaped', () => {
  expect(changedZones(changes('domains_v5_0', '0005 61 2e 20 62 00 00000001'))).toEqual(
    found(['a\\046\\032b.'], []),
  );
});

test('ids of domains are big-endian with a native schema, of the host in shadow mode', () => {
  expect(changedZones(changes('domains_v5', '01020304'))).toEqual(found([], [0x01020304]));
  expect(changedZones(changes('_sync_shadow_domains', '04030201'))).toEqual(
    found([], [0x01020304]),
  );
  expect(domainKey(0x01020304, { dbiName: 'domains', isNative: false }).toString('hex')).toBe(
    '04030201',
  );
});

test('what cannot be told is everything; keys and settings alone are nothing', () => {
  expect(changedZones(new Map([['db', 'many' as const]]))).toBe('everything');
  expect(changedZones(changes('views_v6', '00'))).toBe('everything');
  expect(changedZones(changes('records_v5', '0102'))).toBe('everything');
  expect(changedZones(changes('domains_v5_0', '000d 6578616d706c65006e657700 7ce46916'))).toBe(
    'everything',
  );
  expect(changedZones(changes('pdns', '00'))).toEqual(found([], []));
  expect(changedZones(changes('keydata_v5', '00000001'))).toEqual(found([], []));
});

test('the name of a zone is read from its object, and nothing else is taken for one', () => {
  const object = bytes(
    '0100 0000000000000000 0e00000000000000 046e657732076578616d706c6500 00000000',
  );
  const header = bytes('18eb95f383e86a45000000000000000c0000000000000000');
  const native = { dbiName: 'domains_v5', isNative: true };
  const plain = { dbiName: 'domains', isNative: false };
  expect(zoneNameIn(object, plain)).toBe('new2.example.');
  expect(zoneNameIn(Buffer.concat([header, object]), native)).toBe('new2.example.');
  const deleted = Buffer.from(header);
  deleted[17] = 1;
  expect(zoneNameIn(deleted, native)).toBeUndefined();
  for (let length = 0; length < 32; length += 1) {
    expect(() => zoneNameIn(object.subarray(0, length), plain)).toThrow(/object|name/);
  }
  const damaged = Buffer.from(object);
  damaged[18] = 60;
  expect(() => zoneNameIn(damaged, plain)).toThrow('another name');
});
