import { stringify } from 'yaml';
import { ALERTS, type Alert } from './alerts.ts';

/** Where the runbook is read by whoever gets an alert. */
const RUNBOOK = 'docs/runbook.md';
const HEAD =
  '# Made by "npm run alerts" from deploy/prometheus/alerts.ts, as the table in docs/runbook.md.\n';
const TABLE_BEGIN = '<!-- alerts: made by "npm run alerts" -->';
const TABLE_END = '<!-- end of alerts -->';

/** The file that Prometheus loads: all alerts in one group. */
export function rulesYaml(): string {
  const rules = ALERTS.map(({ name, expr, lasting, severity, summary, means, section }) => ({
    alert: name,
    expr,
    ...(lasting === undefined ? {} : { for: lasting }),
    labels: { severity },
    annotations: { summary, description: plain(means), runbook: `${RUNBOOK}#${anchorOf(section)}` },
  }));
  return (
    HEAD +
    stringify({ groups: [{ name: 'lightningstream', rules }] }, { lineWidth: 0, singleQuote: true })
  );
}

/** Tests for promtool: each alert fires in the case that it gives, and no other one of the same name does before. */
export function ruleTestsYaml(rulesFile: string): string {
  return stringify({
    rule_files: [rulesFile],
    evaluation_interval: '1m',
    tests: ALERTS.map(({ name, fires, severity }) => ({
      name,
      interval: '1m',
      input_series: fires.input,
      // One sample, in a query over all alerts that fire: how many there are of this name.
      promql_expr_test: [
        {
          expr: `count by (alertname, severity) (ALERTS{alertname="${name}",alertstate="firing"})`,
          eval_time: `${fires.afterMinutes}m`,
          exp_samples: [{ labels: `{alertname="${name}", severity="${severity}"}`, value: 1 }],
        },
      ],
    })),
  });
}

/** The runbook with its table of alerts made anew. Errors: where it has no place for it. */
export function withTable(runbook: string): string {
  const [begin, end] = [runbook.indexOf(TABLE_BEGIN), runbook.indexOf(TABLE_END)];
  if (begin < 0 || end < begin) {
    throw new Error(`${RUNBOOK} has no place for the table: "${TABLE_BEGIN}" to "${TABLE_END}"`);
  }
  return `${runbook.slice(0, begin) + TABLE_BEGIN}\n\n${table()}\n${runbook.slice(end)}`;
}

/** The anchor that a heading gets on the usual forges. */
export function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-');
}

function table(): string {
  const rows = ALERTS.map((alert) => {
    const { name, severity, means, section } = alert;
    return `| \`${name}\` | ${severity} | ${condition(alert)} | ${means} [Do](#${anchorOf(section)}) |\n`;
  });
  return `| alert | severity | when | means |\n|---|---|---|---|\n${rows.join('')}`;
}

function condition({ expr, lasting }: Alert): string {
  return `\`${expr}\`${lasting === undefined ? '' : ` for ${lasting}`}`;
}

function plain(markdown: string): string {
  return markdown.replaceAll('`', '');
}
