import { UnsentAge } from '../../../agent/monitor/unsent-age.ts';

test('is that of the oldest change which is in no stored object, also while it is on its way', () => {
  const age = new UnsentAge();
  expect(age.ageMs(1000)).toBe(0);
  age.looked(true, 1000);
  age.looked(true, 3000);
  expect(age.ageMs(4000)).toBe(3000);
  // An object takes what is pending, and is stored only later.
  age.looked(false, 5000);
  age.generated(5000);
  age.looked(true, 6000);
  expect(age.ageMs(7000)).toBe(6000);
  age.stored();
  expect(age.ageMs(7000)).toBe(1000);
  age.looked(false, 8000);
  age.generated(8000);
  age.stored();
  expect(age.ageMs(9000)).toBe(0);
});

test('of a change that was undone before it was sent there is none', () => {
  const age = new UnsentAge();
  age.looked(true, 1000);
  age.looked(false, 2000);
  expect(age.ageMs(3000)).toBe(0);
});
