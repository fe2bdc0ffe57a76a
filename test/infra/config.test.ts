import { parseSyncConfig } from '../../infra/config.ts';

test.each([
  [{ agents: ['has space'] }, /agents\.0: an agent: use letters/],
  [{ agents: Array.from({ length: 101 }, (_, i) => `a${i}`) }, /agents/],
  [{ agents: ['compacted'] }, /agents\.0: .*begin with "compacted"/],
  [{ agents: ['Compacted-1'] }, /agents\.0: .*begin with "compacted"/],
  [{ databases: ['a__b'] }, /databases\.0/],
  [{ databases: [] }, /databases/],
  [{ compactionMinutes: 0 }, /compactionMinutes/],
  [{ alarmEmail: 'nobody' }, /alarmEmail/],
  [{ unknownKey: 1 }, /unknownKey/],
])('a configuration with %j is refused with a line that says why', (context, message) => {
  expect(() => parseSyncConfig(context)).toThrow(message);
});

test('a configuration may come as JSON from the command line', () => {
  expect(parseSyncConfig('{"stage":"dev"}')).toMatchObject({ stage: 'dev', databases: ['main'] });
});
