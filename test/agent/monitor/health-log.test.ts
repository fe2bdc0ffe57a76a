import { HealthLog } from '../../../agent/monitor/health-log.ts';
import { recordingLog } from '../../support/hosted-engine.ts';

function start() {
  const lines: string[] = [];
  const log = recordingLog((level, text, { check }) =>
    lines.push(`${level} ${text.split(/[:;]/)[0]} ${String(check)}`),
  );
  return { lines, health: new HealthLog(log) };
}

test('a failure is told once when it begins and once when it is over; a warning is not', () => {
  const { health, lines } = start();
  const check = { name: 'main_storage_list_failed_duration', message: 'x' };
  health.note([{ ...check, level: 'warning' }]);
  health.note([{ ...check, level: 'error' }]);
  health.note([{ ...check, level: 'error' }]);
  health.note([]);
  health.note([]);
  expect(lines).toEqual([`error unhealthy ${check.name}`, `info well again ${check.name}`]);
});

test('a loop that hangs is told from its warning on', () => {
  const { health, lines } = start();
  const check = { name: 'main_receive_stalled', message: 'x' };
  health.note([{ ...check, level: 'warning' }]);
  health.note([{ ...check, level: 'error' }]);
  expect(lines).toEqual([
    `warn something makes no progress ${check.name}`,
    `error unhealthy ${check.name}`,
  ]);
});
