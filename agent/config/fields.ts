/** Thrown by a field's parser: what is wrong with the value, and what would be right. */
export class FieldProblem extends Error {
  readonly hint: string | undefined;

  constructor(message: string, hint?: string) {
    super(message);
    this.name = 'FieldProblem';
    this.hint = hint;
  }
}

/**
 * A scalar as it stands in the file. The source text and not YAML's own value, since what `0775`, `yes` or
 * `5` means depends on the key: a mode, a flag, a duration in nanoseconds, or just text.
 */
export type Scalar = { readonly text: string; readonly plain: boolean };

/** One key with a single value: the row of the configuration table. */
export type Leaf<T> = {
  readonly node: 'leaf';
  readonly key: string;
  /** The type as the documentation names it. */
  readonly type: string;
  readonly defaultValue: T;
  /** The default as an operator would write it; empty: none. */
  readonly defaultText: string;
  readonly help: string;
  /** True for keys that upstream does not have. */
  readonly ours: boolean;
  /** True for values that are never printed. */
  readonly secret: boolean;
  readonly required: boolean;
  /** A line of YAML that sets it, shown where a required key is missing; empty: the help text is. */
  readonly example: string;
  /** Throws a {@link FieldProblem}. */
  readonly parse: (scalar: Scalar) => T;
  /** The value as the operator would write it. */
  readonly format: (value: T) => string;
};

/** A map with known keys. */
export type Section<F extends Fields> = {
  readonly node: 'section';
  readonly key: string;
  readonly help: string;
  readonly fields: F;
};

/** A map whose keys the operator chooses, all of one shape. */
export type MapOf<F extends Fields> = {
  readonly node: 'map';
  readonly key: string;
  readonly help: string;
  /** What a key stands for, as in `lmdbs.<name>`. */
  readonly keyName: string;
  readonly fields: F;
};

/** A list of texts: a command and its arguments, names. */
export type TextList = {
  readonly node: 'list';
  readonly key: string;
  readonly help: string;
  readonly ours: boolean;
};

/** A subtree that is kept for a later, stricter look (`storage.options`). */
export type Deferred = { readonly node: 'deferred'; readonly key: string; readonly help: string };

// `any` only here: a table row is read through its own type everywhere else.
// oxlint-disable-next-line typescript/no-explicit-any
export type AnyField = Leaf<any> | Section<any> | MapOf<any> | TextList | Deferred;
export type Fields = { readonly [property: string]: AnyField };

/** The typed value that a table of fields describes; all of it readonly. */
export type Values<F extends Fields> = { readonly [P in keyof F]: ValueOf<F[P]> };
type ValueOf<N> =
  N extends Leaf<infer T>
    ? T
    : N extends Section<infer F>
      ? Values<F>
      : N extends MapOf<infer F>
        ? ReadonlyMap<string, Values<F>>
        : N extends TextList
          ? readonly string[]
          : unknown;

export type LeafOptions<T> = {
  readonly help: string;
  readonly default?: T | undefined;
  readonly ours?: true | undefined;
  readonly secret?: true | undefined;
  readonly required?: true | undefined;
  readonly example?: string | undefined;
};

/** A map with known keys. */
export function section<F extends Fields>(key: string, help: string, fields: F): Section<F> {
  return { node: 'section', key, help, fields };
}

/** A map whose keys the operator chooses. */
export function mapOf<F extends Fields>(
  key: string,
  names: { readonly keyName: string; readonly help: string },
  fields: F,
): MapOf<F> {
  return { node: 'map', key, ...names, fields };
}

/** A list of texts, empty unless given; a key that upstream does not have. */
export function textList(key: string, options: { readonly help: string }): TextList {
  return { node: 'list', key, help: options.help, ours: true };
}

/** A subtree that is parsed later. */
export function deferred(key: string, help: string): Deferred {
  return { node: 'deferred', key, help };
}

type LeafParts<T> = {
  readonly type: string;
  readonly fallback: T;
  readonly parse: (scalar: Scalar) => T;
  readonly format: (value: T) => string;
};

/** A leaf made of a value type and one key's own facts. */
export function leaf<T>(key: string, options: LeafOptions<T>, parts: LeafParts<T>): Leaf<T> {
  return {
    node: 'leaf',
    key,
    type: parts.type,
    defaultValue: options.default ?? parts.fallback,
    defaultText: options.default === undefined ? '' : parts.format(options.default),
    help: options.help,
    ours: options.ours ?? false,
    secret: options.secret ?? false,
    required: options.required ?? false,
    example: options.example ?? '',
    parse: parts.parse,
    format: parts.format,
  };
}
