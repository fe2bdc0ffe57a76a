import type { Check } from '../../watchdog/health-check.ts';
import type { DatabaseStatus } from '../../monitor/status.ts';
import { el, type ViewNode } from './node.ts';

/** One cell: a whole `td`, or what is in it; numbers stand to the right. */
export type Cell = ViewNode | number;

/** A table that scrolls by itself where it is wider than the screen. */
export function table(heads: readonly string[], rows: readonly (readonly Cell[])[]): ViewNode {
  const kind = (column: number) => (rows.some((cells) => isNumber(cells[column])) ? 'number' : '');
  return el(
    'div',
    'scroll',
    el(
      'table',
      '',
      el('thead', '', el('tr', '', ...heads.map((head, column) => el('th', kind(column), head)))),
      el(
        'tbody',
        '',
        ...rows.map((cells) =>
          el('tr', '', ...cells.map((cell, column) => cellNode(cell, kind(column)))),
        ),
      ),
    ),
  );
}

function isNumber(cell: Cell | undefined): boolean {
  if (typeof cell === 'number') {
    return true;
  }
  return Array.isArray(cell) && cell[1].class === 'number';
}

/** A size or the like, to the right as numbers are. */
export function figure(text: string): ViewNode {
  return el('td', 'number', text);
}

function cellNode(cell: Cell, kind: string): ViewNode {
  if (typeof cell === 'number') {
    return el('td', 'number', cell.toLocaleString('en-US'));
  }
  if (typeof cell === 'string') {
    return el('td', kind, cell);
  }
  return cell[0] === 'td' ? cell : el('td', kind, cell);
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A length of time for people: two digits are enough. */
export function duration(ms: number): string {
  if (ms < SECOND) {
    return `${twoDigits(ms)} ms`;
  }
  if (ms < 10 * SECOND) {
    return `${twoDigits(ms / SECOND)} s`;
  }
  if (ms < 2 * MINUTE) {
    return `${Math.round(ms / SECOND)} s`;
  }
  if (ms < 2 * HOUR) {
    return `${Math.round(ms / MINUTE)} min`;
  }
  if (ms < 2 * DAY) {
    return `${Math.round(ms / HOUR)} h`;
  }
  return `${Math.round(ms / DAY)} days`;
}

function twoDigits(value: number): string {
  return value < 10 ? String(Number(value.toFixed(1))) : String(Math.round(value));
}

/** How long ago a moment was. */
export function age(atMs: number, nowMs: number): string {
  const ms = nowMs - atMs;
  // Clocks differ a little; more than that is worth a word.
  if (ms < -SECOND) {
    return `${duration(-ms)} in the future`;
  }
  return ms < SECOND ? 'just now' : `${duration(Math.round(ms / SECOND) * SECOND)} ago`;
}

/** How long the longest waiting object of any instance has been waiting; 0: nothing waits. */
export function behind({ instances }: DatabaseStatus): number {
  return instances.reduce((most, { lagMs }) => Math.max(most, lagMs), 0);
}

/** Whether what a database has seen of others is all there is: not before its first pass, nor while it cannot look. */
export type Sight = 'starting' | 'stopped' | 'whole';

export function sightOf(database: DatabaseStatus, checks: readonly Check[]): Sight {
  const isStopped = checks.some(
    ({ name, level }) => level === 'error' && name.startsWith(`${database.name}_`),
  );
  return isStopped ? 'stopped' : database.started ? 'whole' : 'starting';
}

/** How far a database is behind, as a cell. */
export function behindOrWhy(database: DatabaseStatus, sight: Sight): ViewNode {
  switch (sight) {
    case 'starting':
      return el('td', '', 'initial sync');
    case 'stopped':
      return el('td', 'bad', 'unknown');
    case 'whole':
      return behindCell(behind(database));
  }
}

/** How far one instance is behind, as a cell. */
export function behindCell(lagMs: number): ViewNode {
  return lagMs > 0 ? el('td', 'late', duration(lagMs)) : el('td', 'good', 'in step');
}

/** `1 warning`, `2 warnings`. */
export function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;
}
