import { applicationDbiName, isPrivateDbi, shadowDbiName } from '../../protocol/dbi-name.ts';

test('names that begin with _sync are private', () => {
  expect(['_sync_state', '_sync', '_synced', 'sync', 'a_sync'].map(isPrivateDbi)).toEqual([
    true,
    true,
    true,
    false,
    false,
  ]);
});

test('a shadow DBI is private and leads back to the DBI that it shadows', () => {
  for (const name of ['zones', '', '_sync_shadow_zones']) {
    expect(isPrivateDbi(shadowDbiName(name))).toBe(true);
    expect(applicationDbiName(shadowDbiName(name))).toBe(name);
  }
});

test('a DBI that is no shadow shadows nothing', () => {
  expect(['zones', '_sync_state', '_sync_shado'].map(applicationDbiName)).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});
