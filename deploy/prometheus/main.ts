import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { rulesYaml, withTable } from './render.ts';

const runbook = join(import.meta.dirname, '../../docs/runbook.md');
writeFileSync(join(import.meta.dirname, 'rules.yaml'), rulesYaml());
writeFileSync(runbook, withTable(readFileSync(runbook, 'utf8')));
