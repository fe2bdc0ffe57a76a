import { parseSync } from '@swc/core';
import { dirname, join } from 'node:path';
import type { Room } from './rooms.ts';

/** Files of one room at most: a reader sees them all at once. */
export const ROOM_FILES_MAX = 25;

/** What is checked: source texts by their paths, and the rules for them. */
export type Tree = {
  readonly files: ReadonlyMap<string, string>;
  readonly rooms: readonly Room[];
  readonly kept: readonly (readonly [packages: RegExp, files: RegExp])[];
  readonly pure: readonly string[];
};

type Facts = { readonly imports: string[]; readonly impure: Set<string> };

const IMPURE = new Set(['process', 'performance', 'fetch', 'setTimeout', 'setInterval']);

/**
 * The sentences on all that breaks the rules, sorted; none where the table is true.
 *
 * A cycle needs no search of its own: the rooms have an order,
 * so one of the cycle's arrows runs upward.
 */
export function brokenRules(tree: Tree): string[] {
  const names = tree.rooms.map(([room]) => room);
  const used = new Set([...tree.files.keys()].map((file) => roomOf(file, names)));
  const broken = new Set([
    ...fullRooms(tree.files.keys()),
    ...names.filter((room) => !used.has(room)).map((room) => `${room} has no file`),
  ]);
  for (const [file, text] of tree.files) {
    const own = roomOf(file, names);
    const row = tree.rooms.find(([room]) => room === own);
    if (own === undefined || row === undefined) {
      broken.add(`${file} is in no room`);
      continue;
    }
    const [, rooms, packages] = row;
    const { imports, impure } = factsOf(text);
    if (tree.pure.includes(own)) {
      impure.forEach((name) => broken.add(`${file} uses ${name}`));
    }
    for (const specifier of imports) {
      if (!specifier.startsWith('.')) {
        if (!allows(packages, specifier) || !keptTo(tree, file, specifier)) {
          broken.add(`${file} imports the package ${specifier}`);
        }
        continue;
      }
      const path = join(dirname(file), specifier);
      const target = roomOf(path, names) ?? 'no room';
      if (/\.test\.ts$|\/index\.ts$/.test(path)) {
        broken.add(`${file} imports ${path}: a test or a barrel`);
      } else if (names.indexOf(target) > names.indexOf(own)) {
        broken.add(`${file} imports ${path}: upward`);
      } else if (target !== own && !allows(rooms, target)) {
        broken.add(`${file} imports ${path}: not in the table`);
      }
    }
  }
  return [...broken].sort();
}

function fullRooms(files: Iterable<string>): string[] {
  const counts = new Map<string, number>();
  for (const file of files) {
    counts.set(dirname(file), (counts.get(dirname(file)) ?? 0) + 1);
  }
  return [...counts]
    .filter(([, count]) => count > ROOM_FILES_MAX)
    .map(([folder, count]) => `${folder} has ${count} files, a room ${ROOM_FILES_MAX} at most`);
}

/** The narrowest room that holds the file; a folder holds its own files only, unless it says `/**`. */
function roomOf(file: string, names: readonly string[]): string | undefined {
  const deep = (name: string) => name.endsWith('/**') && file.startsWith(name.slice(0, -2));
  return names
    .filter((name) => name === file || name === dirname(file) || deep(name))
    .toSorted((a, b) => b.length - a.length)[0];
}

/** Whether a list of the table has the name itself, what stands before its slash, or a pattern for it. */
function allows(list: string, name: string): boolean {
  return list.split(' ').some((entry) => {
    const start = entry.endsWith('*') ? entry.slice(0, -1) : undefined;
    return start === undefined
      ? entry === name || (isPackage(entry) && name.startsWith(`${entry}/`))
      : name.startsWith(start);
  });
}

const isPackage = (entry: string): boolean => entry !== '' && !/[/:]/.test(entry);

function keptTo(tree: Tree, file: string, specifier: string): boolean {
  const free = /^(test|bench)\//.test(file);
  return free || tree.kept.every(([names, files]) => !names.test(specifier) || files.test(file));
}

/** What a source imports, types and dynamic imports among it, and what it takes from its surroundings. */
function factsOf(text: string): Facts {
  const facts: Facts = { imports: [], impure: new Set() };
  visit(parseSync(text, { syntax: 'typescript' }), facts);
  return facts;
}

type AstNode = Readonly<Record<string, unknown>>;

function visit(node: unknown, facts: Facts): void {
  if (Array.isArray(node)) {
    node.forEach((child) => visit(child, facts));
  } else if (typeof node === 'object' && node !== null) {
    const { type, source, argument, callee, arguments: given, value } = node as AstNode;
    const called = callee as AstNode | undefined;
    const isCall = called?.['type'] === 'Import' || called?.['value'] === 'require';
    const first = (given as { expression?: unknown }[] | undefined)?.[0]?.expression;
    const from = type === 'TsImportType' ? argument : isCall ? first : source;
    const specifier = (from as AstNode | null | undefined)?.['value'];
    if (typeof specifier === 'string') {
      facts.imports.push(specifier);
    }
    if (type === 'Identifier' && typeof value === 'string' && IMPURE.has(value)) {
      facts.impure.add(value);
    }
    const { object, property } = node as { object?: AstNode; property?: AstNode };
    const isNow = object?.['value'] === 'Date' && property?.['value'] === 'now';
    const isNew = type === 'NewExpression' && called?.['value'] === 'Date' && first === undefined;
    if (isNow || isNew) {
      facts.impure.add('the clock');
    }
    Object.values(node).forEach((child) => visit(child, facts));
  }
}
