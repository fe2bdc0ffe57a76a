export type Expansion = {
  readonly text: string;
  /** Names that are not set, with the line of their first use outside comments. */
  readonly unset: ReadonlyMap<string, number>;
};

const REFERENCE = /\$(?:\{([^}]*)\}|(\{)|([a-zA-Z0-9_]+)|([*#$@!?-]))/g;

/**
 * Replaces `$NAME` and `${NAME}` by environment variables; what is not set becomes nothing.
 *
 * The whole text is expanded before YAML sees it, comments included. There is no escape: `$$` becomes nothing,
 * and a dollar sign stays only where no name can follow. Source: Go `os.Expand`, as
 * PowerDNS/lightningstream, `config/config.go`, `LoadYAML` uses it.
 */
export function expandVariables(
  text: string,
  processEnv: Readonly<Record<string, string | undefined>>,
): Expansion {
  const unset = new Map<string, number>();
  const lookUp = (name: string, offset: number): string => {
    const value = processEnv[name];
    if (value !== undefined) {
      return value;
    }
    const lineStart = text.lastIndexOf('\n', offset - 1) + 1;
    if (!unset.has(name) && !/(^|\s)#/.test(text.slice(lineStart, offset + 1))) {
      unset.set(name, text.slice(0, offset).split('\n').length);
    }
    return '';
  };
  const expanded = text.replace(
    REFERENCE,
    (
      match,
      braced: string | undefined,
      open: string | undefined,
      bare: string | undefined,
      special: string | undefined,
      offset: number,
    ) => {
      if (open !== undefined || braced === '') {
        return '';
      }
      // Go takes a single digit as a whole name: `$10` is variable "1", then a zero.
      if (bare !== undefined && /^\d/.test(bare)) {
        return lookUp(bare.slice(0, 1), offset) + bare.slice(1);
      }
      return lookUp(braced ?? bare ?? special ?? match, offset);
    },
  );
  return { text: expanded, unset };
}
