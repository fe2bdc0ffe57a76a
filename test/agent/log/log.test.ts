import type { LogConfig } from '../../../agent/config/config.ts';
import { formatRfc3339 } from '../../../agent/log/format.ts';
import { createLogger } from '../../../agent/log/log.ts';

const START_MS = Date.UTC(2026, 0, 2, 3, 4, 0);
const DEFAULTS: LogConfig = { level: 'info', format: 'human', timestamp: 'short' };

function capture(config: Partial<LogConfig>, isTTY = false) {
  const lines: string[] = [];
  let time = START_MS;
  const log = createLogger(
    { ...DEFAULTS, ...config },
    { stream: { write: (line: string) => lines.push(line), isTTY }, now: () => time },
  );
  return { log, lines, advance: (ms: number) => (time += ms) };
}

const COLOUR = new RegExp(String.raw`${'\u001B'}\[(\d+)m`, 'g');
/** Colours made visible. */
const plain = (line: string | undefined) => line?.replaceAll(COLOUR, '<$1>');

test('a new level and format hold for loggers that were made before', () => {
  const { log, lines } = capture({ timestamp: 'disable' });
  const child = log.child({ db: 'main' });
  child.debug({}, 'hidden');
  log.configure({ level: 'debug', format: 'logfmt', timestamp: 'disable' });
  child.debug({}, 'shown');
  log.configure({ level: 'error', format: 'logfmt', timestamp: 'disable' });
  child.warn({}, 'hidden again');
  expect(lines).toEqual(['level=debug msg=shown db=main\n']);
});

test('warnings are heard of with the fields of their logger, whatever the level hides', () => {
  const heard: unknown[] = [];
  const log = createLogger(
    { ...DEFAULTS, level: 'fatal' },
    { stream: { write: () => {} }, onTrouble: (fields, text) => heard.push({ ...fields, text }) },
  );
  log.child({ db: 'main' }).warn({ error: 'refused' }, 'cannot list');
  log.info({}, 'fine');
  expect(heard).toEqual([{ db: 'main', error: 'refused', text: 'cannot list' }]);
});

describe('formats', () => {
  test('human without a terminal is logfmt with the database in the text', () => {
    const { log, lines, advance } = capture({});
    advance(5000);
    log.child({ db: 'main' }).info({ snapshot_name: 'a b', size: 62 }, 'text');
    expect(lines).toEqual([
      `time="${formatRfc3339(START_MS + 5000)}" level=info msg="[main          ] text" db=main size=62 snapshot_name="a b"\n`,
    ]);
  });

  test('times are in the local time zone', () => {
    const time = formatRfc3339(START_MS);
    expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$/);
    expect(Date.parse(time)).toBe(START_MS);
  });

  test('human on a terminal is coloured, with seconds since the start', () => {
    const { log, lines, advance } = capture({}, true);
    advance(5000);
    log.warn({ db: 'main', error: 'no such bucket' }, 'cannot list');
    expect(plain(lines[0])).toBe(
      `<33>WARN<0>[0005] ${'[main          ] cannot list'.padEnd(44)}  <33>db<0>=main <33>error<0>="no such bucket"\n`,
    );
  });

  test('logfmt never has the database in the text and no colours', () => {
    const { log, lines } = capture({ format: 'logfmt', timestamp: 'disable' }, true);
    log.error({ db: 'main' }, 'text');
    expect(lines).toEqual(['level=error msg=text db=main\n']);
  });

  test('json has sorted keys', () => {
    const { log, lines } = capture({ format: 'json' });
    log.child({ db: 'main' }).warn({ txnID: 9n, again: true, nothing: undefined }, 'text');
    const parsed = JSON.parse(lines[0] ?? '') as Record<string, unknown>;
    expect(Object.keys(parsed)).toEqual(['again', 'db', 'level', 'msg', 'time', 'txnID']);
    expect(parsed).toMatchObject({ level: 'warning', msg: 'text', txnID: '9', again: true });
    expect(parsed['time']).toMatch(/^2026-01-0[123]T\d\d:\d\d:00(Z|[+-]\d\d:\d\d)$/);
  });

  test.each([
    ['short', true, /^<36>INFO<0>\[0000\] t/],
    ['full', true, /^<36>INFO<0>\[2026-01-0\dT\d\d:\d\d:00(Z|[+-]\d\d:\d\d)\] t/],
    ['disable', true, /^<36>INFO<0> t/],
    ['short', false, /^time="2026-/],
    ['full', false, /^time="2026-/],
    ['disable', false, /^level=info msg=t/],
  ] as const)('timestamp %s, on a terminal: %s', (timestamp, isTTY, expected) => {
    const { log, lines } = capture({ timestamp }, isTTY);
    log.info({}, 't');
    expect(plain(lines[0])).toMatch(expected);
  });
});

test('values of letters, digits and -._/@^+ are not quoted, others are', () => {
  const { log, lines } = capture({ format: 'logfmt', timestamp: 'disable' });
  log.info({ a: 'aZ9-._/@^+', b: 'a=b', c: 'line\nbreak', d: '' }, 'x');
  expect(lines).toEqual(['level=info msg=x a=aZ9-._/@^+ b="a=b" c="line\\nbreak" d=\n']);
});

test('a text from outside cannot write to the terminal', () => {
  const { log, lines } = capture({}, true);
  log.info({ name: 'a\u001B[2Jb' }, 'bad \u001B[2J name\nINFO forged');
  expect(lines).toHaveLength(1);
  expect(plain(lines[0])).not.toContain('\u001B');
  expect(lines[0]).not.toMatch(/\nINFO/);
});

test.each([
  ['trace', ['debug', 'info', 'warning', 'error']],
  ['debug', ['debug', 'info', 'warning', 'error']],
  ['info', ['info', 'warning', 'error']],
  ['warning', ['warning', 'error']],
  ['warn', ['warning', 'error']],
  ['error', ['error']],
  ['fatal', []],
  ['panic', []],
] as const)('level %s logs %j', (level, expected) => {
  const { log, lines } = capture({ level, format: 'json' });
  log.debug({}, 'x');
  log.info({}, 'x');
  log.warn({}, 'x');
  log.error({}, 'x');
  expect(lines.map((line) => (JSON.parse(line) as { level: string }).level)).toEqual(expected);
});

test('a field cannot replace level, time or text', () => {
  const { log, lines } = capture({ format: 'json' });
  log.info({ level: 'fatal', msg: 'forged', time: 1 }, 'text');
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    level: 'info',
    msg: 'text',
    'fields.level': 'fatal',
    'fields.msg': 'forged',
  });
});
