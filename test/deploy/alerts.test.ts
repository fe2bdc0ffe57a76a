import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ALERTS } from '../../deploy/prometheus/alerts.ts';
import { anchorOf, rulesYaml, withTable } from '../../deploy/prometheus/render.ts';

const ROOT = join(__dirname, '../..');
const runbook = readFileSync(join(ROOT, 'docs/runbook.md'), 'utf8');

test('the committed rules and the table in the runbook are what the alerts say', () => {
  expect(readFileSync(join(ROOT, 'deploy/prometheus/rules.yaml'), 'utf8')).toBe(rulesYaml());
  expect(runbook).toBe(withTable(runbook));
});

test('each alert leads to a section of the runbook', () => {
  const anchors = Array.from(runbook.matchAll(/^#+ (.+)$/gm), ([, text = '']) => anchorOf(text));
  expect(ALERTS.filter(({ section }) => !anchors.includes(anchorOf(section)))).toEqual([]);
});

test('a runbook without a place for the table is refused', () => {
  expect(() => withTable('# Runbook\n')).toThrow('no place for the table');
});
