import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Document,
  type Node,
  type Pair,
  type YAMLError,
} from 'yaml';
import {
  FieldProblem,
  type AnyField,
  type Fields,
  type Leaf,
  type MapOf,
  type Values,
} from './fields.ts';
import { suggest } from './suggest.ts';

/** Something wrong in the file: where, what, and what would be right. */
export type Problem = {
  readonly line: number;
  readonly message: string;
  readonly hint?: string | undefined;
};

/** A parsed YAML file; problems are collected, so that one run names them all. */
export class YamlReader {
  readonly problems: Problem[] = [];
  readonly #document: Document;
  readonly #lines = new LineCounter();
  /** The text is no YAML: only its first error is told, what follows from it would only hide it. */
  readonly isBroken: boolean;

  constructor(text: string) {
    // 1.1 as upstream's parser. Duplicate keys are found below, with the right line and name.
    this.#document = parseDocument(text, {
      version: '1.1',
      uniqueKeys: false,
      lineCounter: this.#lines,
      logLevel: 'silent',
      prettyErrors: false,
    });
    this.isBroken = this.#document.errors.length > 0;
    const [error] = this.#document.errors.toSorted((a, b) => a.pos[0] - b.pos[0]);
    if (error !== undefined) {
      this.problems.push(syntaxProblem(error, this.#lines.linePos(error.pos[0]).line));
    }
  }

  /** The whole file by a table of fields. Call {@link problems} afterwards: with any, the values mean nothing. */
  readRoot<F extends Fields>(fields: F): Values<F> {
    return this.read(fields, this.#document.contents, { path: '', everything: fields });
  }

  /** One subtree, such as the value of a deferred key. */
  read<F extends Fields>(
    fields: F,
    node: unknown,
    at: { readonly path: string; readonly everything?: Fields; readonly line?: number },
  ): Values<F> {
    const everything = at.everything ?? fields;
    const present = this.#pairs(node, at.path, at.line ?? 1);
    const line = at.line ?? this.#line(node);
    const byKey = new Map(Object.entries(fields).map(([property, field]) => [field.key, property]));
    const found = new Map<string, Pair>();
    for (const [key, pair] of present) {
      const property = byKey.get(key);
      if (property === undefined) {
        this.#unknownKey(key, pair, { path: at.path, known: [...byKey.keys()], everything });
      } else {
        found.set(property, pair);
      }
    }
    const values: Record<string, unknown> = {};
    for (const [property, field] of Object.entries(fields)) {
      values[property] = this.#value(field, found.get(property), {
        path: at.path,
        line,
        everything,
      });
    }
    return values as Values<F>;
  }

  /** The line on which a node begins, from 1. */
  lineOf(node: unknown): number {
    return this.#line(node);
  }

  /** The line of the value at a path of keys; 1 where there is none. */
  lineAt(path: readonly string[]): number {
    return this.#line(this.#document.getIn(path, true));
  }

  #value(
    field: AnyField,
    pair: Pair | undefined,
    at: { readonly path: string; readonly line: number; readonly everything: Fields },
  ): unknown {
    const path = at.path === '' ? field.key : `${at.path}.${field.key}`;
    const line = pair === undefined ? at.line : this.#line(pair.key);
    const node = this.#resolve(pair?.value);
    switch (field.node) {
      case 'leaf':
        return this.#leaf(field, node, { path, line });
      case 'section':
        return this.read(field.fields as Fields, node, { path, line, everything: at.everything });
      case 'list':
        return this.#list(node, { path, line });
      case 'deferred':
        return isNull(node) ? undefined : node;
      case 'map':
        return this.#map(field, node, { path, line, everything: at.everything });
      default:
        return field satisfies never;
    }
  }

  #map(
    field: MapOf<Fields>,
    node: unknown,
    at: { readonly path: string; readonly line: number; readonly everything: Fields },
  ): Map<string, unknown> {
    const items = new Map<string, unknown>();
    for (const [name, item] of this.#pairs(node, at.path, at.line)) {
      const value = this.read(field.fields, this.#resolve(item.value), {
        path: `${at.path}.${name}`,
        line: this.#line(item.key),
        everything: at.everything,
      });
      items.set(name, value);
    }
    return items;
  }

  #list(node: unknown, at: { readonly path: string; readonly line: number }): readonly string[] {
    if (isNull(node)) {
      return [];
    }
    const items = isSeq(node) ? node.items.map((item) => this.#resolve(item)) : [];
    if (!isSeq(node) || !items.every((item) => isScalar(item) && !isNull(item))) {
      this.problems.push({
        line: at.line,
        message: `\`${at.path}\` must be a list of texts`,
        hint: 'Write it as in [first, second].',
      });
      return [];
    }
    return items.map((item) => (isScalar(item) ? (item.source ?? String(item.value)) : ''));
  }

  #leaf(
    field: Leaf<unknown>,
    node: unknown,
    at: { readonly path: string; readonly line: number },
  ): unknown {
    if (isNull(node) || (field.required && isScalar(node) && node.source === '')) {
      if (field.required) {
        this.problems.push({
          line: at.line,
          message: `\`${at.path}\` is missing`,
          hint: field.example === '' ? field.help : `Add it, as in \`${field.example}\`.`,
        });
      }
      return field.defaultValue;
    }
    if (!isScalar(node)) {
      this.problems.push({
        line: at.line,
        message: `\`${at.path}\` must be a single value (${field.type}), not a ${isMap(node) ? 'map' : 'list'}`,
      });
      return field.defaultValue;
    }
    try {
      return field.parse({ text: node.source ?? String(node.value), plain: node.type === 'PLAIN' });
    } catch (error) {
      if (!(error instanceof FieldProblem)) {
        throw error;
      }
      this.problems.push({
        line: at.line,
        message: `\`${at.path}\` ${error.message}`,
        hint: error.hint,
      });
      return field.defaultValue;
    }
  }

  #unknownKey(
    key: string,
    pair: Pair,
    at: { readonly path: string; readonly known: readonly string[]; readonly everything: Fields },
  ): void {
    const where = at.path === '' ? '' : ` in \`${at.path}\``;
    this.problems.push({
      line: this.#line(pair.key),
      message: `unknown key \`${key}\`${where}`,
      hint: suggest(key, at.known, at.everything),
    });
  }

  /** The pairs of a map by key, with `<<` merged in; a missing or empty node has none. */
  #pairs(node: unknown, path: string, line: number): Map<string, Pair> {
    const pairs = new Map<string, Pair>();
    const resolved = this.#resolve(node);
    if (isNull(resolved)) {
      return pairs;
    }
    if (!isMap(resolved)) {
      const what = path === '' ? 'the file' : `\`${path}\``;
      this.problems.push({ line, message: `${what} must be a map of keys and values` });
      return pairs;
    }
    const own = new Set<string>();
    for (const pair of resolved.items) {
      const key = isScalar(pair.key) ? (pair.key.source ?? String(pair.key.value)) : '';
      if (key === '<<') {
        // Keys of the map itself win. One level: merged maps cannot merge further, so nothing can loop.
        const merged = this.#resolve(pair.value);
        for (const other of isMap(merged) ? merged.items : []) {
          const otherKey = isScalar(other.key) ? String(other.key.source) : '';
          if (!pairs.has(otherKey)) {
            pairs.set(otherKey, other);
          }
        }
      } else {
        if (own.has(key)) {
          this.problems.push({
            line: this.#line(pair.key),
            message: `duplicate key \`${key}\`${path === '' ? '' : ` in \`${path}\``}`,
            hint: 'Keep one of them.',
          });
        }
        own.add(key);
        pairs.set(key, pair);
      }
    }
    return pairs;
  }

  #resolve(node: unknown): unknown {
    return isAlias(node) ? node.resolve(this.#document) : node;
  }

  #line(node: unknown): number {
    const range = isNode(node) ? (node as Node).range : undefined;
    return range ? this.#lines.linePos(range[0]).line : 1;
  }
}

function isNull(node: unknown): boolean {
  return (
    node === undefined ||
    node === null ||
    (isScalar(node) && node.type === 'PLAIN' && node.value === null)
  );
}

function syntaxProblem(error: YAMLError, line: number): Problem {
  if (error.code === 'TAB_AS_INDENT') {
    return {
      line,
      message: 'a tab cannot indent a line of YAML',
      hint: 'Replace the tab with spaces.',
    };
  }
  return { line, message: lowerFirst(error.message) };
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
