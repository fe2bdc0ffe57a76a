import { LastTrouble } from '../../../agent/log/last-trouble.ts';

test('the last trouble is told with its database and error, and with its age once it may be over', () => {
  let nowMs = 0;
  const trouble = new LastTrouble(() => nowMs);
  expect(trouble.describe()).toBeUndefined();
  trouble.note({ error: 'old' }, 'something else');
  trouble.note(
    { db: 'main', error: 'connect ECONNREFUSED' },
    'cannot read the storage, trying again',
  );
  expect(trouble.describe()).toBe('main: cannot read the storage: connect ECONNREFUSED');
  nowMs = 40_000;
  expect(trouble.describe()).toBe('main: cannot read the storage: connect ECONNREFUSED (40s ago)');
});
