import { formatAmount } from './results.ts';
import { LogScale, line, round, SERIES_COLOURS, svg, text } from './svg.ts';

const WIDTH = 960;
const LABEL_WIDTH = 520;
const BAR = 12;
const TOP = 40;

export type Bars = {
  readonly title: string;
  readonly unit: string;
  readonly rows: readonly {
    readonly label: string;
    readonly value: number;
    readonly target?: number | undefined;
    readonly peer?: number | undefined;
  }[];
};

/** Horizontal bars on a logarithmic axis: what was measured, upstream below it, the target as a stroke. */
export function barChart({ title, unit, rows }: Bars): string {
  const rowHeight = rows.some(({ peer }) => peer !== undefined) ? 2 * BAR + 12 : BAR + 12;
  const bottom = TOP + rows.length * rowHeight;
  const all = rows.flatMap(({ value, target, peer }) => [value, target ?? value, peer ?? value]);
  const scale = new LogScale(all, { start: LABEL_WIDTH, end: WIDTH - 90 });
  const parts = [text({ x: 8, y: 20 }, title), ...legend(rows)];
  for (const tick of scale.ticks) {
    parts.push(line(scale.at(tick), TOP, scale.at(tick), bottom));
    parts.push(
      text(
        { x: scale.at(tick), y: bottom + 16, anchor: 'middle', muted: true },
        formatAmount(tick, unit),
      ),
    );
  }
  for (const [index, { label, value, target, peer }] of rows.entries()) {
    const y = TOP + index * rowHeight + 4;
    parts.push(text({ x: LABEL_WIDTH - 8, y: y + BAR - 2, anchor: 'end' }, label));
    parts.push(bar(scale, y, { value, unit, colour: SERIES_COLOURS[0] }));
    if (peer !== undefined) {
      parts.push(bar(scale, y + BAR, { value: peer, unit, colour: SERIES_COLOURS[1] }));
    }
    if (target !== undefined) {
      const x = round(scale.at(target));
      parts.push(
        `<line x1="${x}" y1="${round(y - 3)}" x2="${x}" y2="${round(y + BAR + 3)}" stroke="${SERIES_COLOURS[2]}" stroke-width="3"/>`,
      );
    }
  }
  return svg({ width: WIDTH, height: bottom + 28, title }, parts);
}

function bar(
  scale: LogScale,
  y: number,
  { value, unit, colour }: { value: number; unit: string; colour: string },
): string {
  const end = scale.at(value);
  return `<rect x="${LABEL_WIDTH}" y="${round(y)}" width="${round(Math.max(1, end - LABEL_WIDTH))}" height="${BAR - 1}" fill="${colour}"/>
${text({ x: end + 6, y: y + BAR - 2 }, formatAmount(value, unit))}`;
}

function legend(rows: Bars['rows']): string[] {
  const entries = [
    ['measured', SERIES_COLOURS[0]],
    ...(rows.some(({ peer }) => peer !== undefined) ? [['upstream', SERIES_COLOURS[1]]] : []),
    ...(rows.some(({ target }) => target !== undefined) ? [['target', SERIES_COLOURS[2]]] : []),
  ] as const;
  return entries.flatMap(([name = '', colour = ''], index) => {
    const x = WIDTH - 90 * (entries.length - index);
    return [
      `<rect x="${x}" y="11" width="10" height="10" fill="${colour}"/>`,
      text({ x: x + 14, y: 20 }, name),
    ];
  });
}

export type Lines = {
  readonly title: string;
  readonly xLabel: string;
  readonly yUnit: string;
  readonly series: readonly {
    readonly name: string;
    readonly points: readonly (readonly [number, number])[];
  }[];
};

/** Lines over two logarithmic axes. */
export function lineChart({ title, xLabel, yUnit, series }: Lines): string {
  const [left, right, top, bottom] = [90, WIDTH - 150, TOP, 300];
  const points = series.flatMap((one) => one.points);
  const x = new LogScale(
    points.map(([value]) => value),
    { start: left, end: right },
  );
  const y = new LogScale(
    points.map(([, value]) => value),
    { start: bottom, end: top },
  );
  const parts = [
    text({ x: 8, y: 20 }, title),
    text({ x: (left + right) / 2, y: bottom + 36, anchor: 'middle' }, xLabel),
  ];
  for (const tick of x.ticks) {
    parts.push(line(x.at(tick), top, x.at(tick), bottom));
    parts.push(
      text(
        { x: x.at(tick), y: bottom + 18, anchor: 'middle', muted: true },
        tick.toLocaleString('en'),
      ),
    );
  }
  for (const tick of y.ticks) {
    parts.push(line(left, y.at(tick), right, y.at(tick)));
    parts.push(
      text(
        { x: left - 8, y: y.at(tick) + 4, anchor: 'end', muted: true },
        formatAmount(tick, yUnit),
      ),
    );
  }
  for (const [index, { name, points: own }] of series.entries()) {
    const colour = SERIES_COLOURS[index % SERIES_COLOURS.length] ?? SERIES_COLOURS[0];
    const path = own.map(([px, py]) => `${round(x.at(px))},${round(y.at(py))}`).join(' ');
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const [px, py] of own) {
      parts.push(
        `<circle cx="${round(x.at(px))}" cy="${round(y.at(py))}" r="4" fill="${colour}"/>`,
      );
    }
    const [lastX, lastY] = own.at(-1) ?? [1, 1];
    parts.push(text({ x: x.at(lastX) + 10, y: y.at(lastY) + 4 }, name));
  }
  return svg({ width: WIDTH, height: bottom + 48, title }, parts);
}
