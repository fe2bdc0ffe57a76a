import type { LogFields } from '../../../agent/log/log.ts';
import { RepeatedLines } from '../../../agent/log/repeated-lines.ts';
import { recordingLog } from '../../support/hosted-engine.ts';

function start() {
  let nowMs = 1_000_000;
  const lines: [string, string, LogFields][] = [];
  const log = recordingLog((level, text, fields) => lines.push([level, text, fields]));
  return {
    lines,
    repeated: new RepeatedLines(log, () => nowMs),
    advance: (ms: number) => (nowMs += ms),
  };
}

test('what goes on and on is one line, and one more a minute that says how many there were', () => {
  const { lines, repeated, advance } = start();
  for (let at = 0; at < 771; at += 1) {
    repeated.warn('list', { error: `try ${at}` }, 'cannot list');
    advance(50);
  }
  expect(lines).toEqual([['warn', 'cannot list', { error: 'try 0' }]]);
  advance(60_000);
  repeated.warn('list', { error: 'later' }, 'cannot list');
  expect(lines[1]).toEqual(['warn', 'cannot list', { error: 'later', more: 770, in_seconds: 99 }]);
});

test('different things are logged beside each other', () => {
  const { lines, repeated } = start();
  repeated.warn('list', {}, 'cannot list');
  repeated.warn('store', {}, 'cannot store');
  expect(lines.map(([, text]) => text)).toEqual(['cannot list', 'cannot store']);
});

test('the end is told once, with what was not logged; the next begin is news', () => {
  const { lines, repeated } = start();
  repeated.over('list', {}, 'can list again');
  repeated.warn('list', {}, 'cannot list');
  repeated.warn('list', {}, 'cannot list');
  repeated.over('list', {}, 'can list again');
  repeated.over('list', {}, 'can list again');
  repeated.warn('list', {}, 'cannot list');
  expect(lines).toEqual([
    ['warn', 'cannot list', {}],
    ['info', 'can list again', { more: 1, in_seconds: 0 }],
    ['warn', 'cannot list', {}],
  ]);
});

test('a clock that is set back silences nothing', () => {
  const { lines, repeated, advance } = start();
  repeated.warn('list', {}, 'cannot list');
  advance(-3_600_000);
  repeated.warn('list', {}, 'cannot list');
  expect(lines).toHaveLength(2);
});
