/** Colours for light and dark pages alike; the text follows the page's scheme. */
export const SERIES_COLOURS = ['#0b7a75', '#c44900', '#7a5195'] as const;

const STYLE = `text{font:12px system-ui,sans-serif;fill:#222}.muted{fill:#666}.grid{stroke:#ccc;stroke-width:1}
@media (prefers-color-scheme:dark){text{fill:#ddd}.muted{fill:#999}.grid{stroke:#444}}`;

/** A picture of this size, with a title for those who cannot see it. */
export function svg(
  size: { width: number; height: number; title: string },
  parts: readonly string[],
): string {
  const { width, height, title } = size;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${escapeXml(title)}</title>
<style>${STYLE}</style>
${parts.join('\n')}
</svg>
`;
}

export function text(
  at: { x: number; y: number; anchor?: string; muted?: boolean },
  content: string,
): string {
  const { x, y, anchor = 'start', muted = false } = at;
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}"${muted ? ' class="muted"' : ''}>${escapeXml(content)}</text>`;
}

export function line(x1: number, y1: number, x2: number, y2: number): string {
  return `<line class="grid" x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}"/>`;
}

/** One digit behind the point is a tenth of a pixel; the same input gives the same bytes. */
export function round(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escapeXml(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** A logarithmic axis over whole decades that hold all of these values. */
export class LogScale {
  readonly #from: number;
  readonly #to: number;
  readonly #start: number;
  readonly #end: number;

  constructor(values: readonly number[], pixels: { readonly start: number; readonly end: number }) {
    const positive = values.filter((value) => value > 0);
    this.#from = Math.floor(Math.log10(Math.min(...positive)) - 1e-9);
    this.#to = Math.max(Math.ceil(Math.log10(Math.max(...positive))), this.#from + 1);
    this.#start = pixels.start;
    this.#end = pixels.end;
  }

  at(value: number): number {
    const part = value <= 0 ? 0 : (Math.log10(value) - this.#from) / (this.#to - this.#from);
    return this.#start + Math.max(0, part) * (this.#end - this.#start);
  }

  /** The powers of ten on it. */
  get ticks(): number[] {
    return Array.from({ length: this.#to - this.#from + 1 }, (_, i) => 10 ** (this.#from + i));
  }
}
