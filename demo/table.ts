/** Lays rows out in columns under their heading; columns named in `right` are aligned to the right. */
export function formatTable(
  heading: readonly string[],
  rows: readonly (readonly string[])[],
  right: ReadonlySet<string> = new Set(),
): string {
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    heading
      .map((title, column) => {
        const cell = cells[column] ?? '';
        const width = widths[column] ?? 0;
        return right.has(title) ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return [line(heading), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join(
    '\n',
  );
}

/** A size for people: "612 B", "12.2 MB". */
export function formatTraffic(bytes: number): string {
  if (bytes < 10_000) {
    return `${bytes} B`;
  }
  return bytes < 1_000_000
    ? `${(bytes / 1000).toFixed(1)} kB`
    : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
