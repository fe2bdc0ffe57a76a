import { parseConfig } from '../../../agent/config/config.ts';
import { selectDatabases } from '../../../agent/config/select-databases.ts';

const { config } = parseConfig('lmdbs: {a: {path: /a}, b: {path: /b}, c: {path: /c}}', {
  fileName: 'ls.yaml',
  processEnv: {},
  hostname: 'host',
});
const select = (...only: readonly string[]) =>
  selectDatabases(config, only).map(([name, { path }]) => `${name}=${path}`);

test('no name selects all databases, names select each once and in their order', () => {
  expect(select()).toEqual(['a=/a', 'b=/b', 'c=/c']);
  expect(select('c', 'a', 'c')).toEqual(['c=/c', 'a=/a']);
});

test('one wrong name among right ones is refused, with the names there are', () => {
  expect(() => select('a', 'd')).toThrow(
    expect.objectContaining({
      code: 'USAGE',
      message: 'no database "d" in the configuration',
      hint: 'Name one of: a, b, c.',
    }),
  );
});
