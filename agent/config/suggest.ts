import type { Fields } from './fields.ts';

/** The known word that a mistyped one was probably meant to be; undefined where none is near. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const bound = Math.max(1, Math.floor(word.length / 3));
  let best: string | undefined;
  let bestDistance = bound + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** What to do about an unknown key: the key meant, the place where it belongs, or the keys there are. */
export function suggest(key: string, known: readonly string[], everything: Fields): string {
  const near = nearest(key, known);
  if (near !== undefined) {
    return `Did you mean \`${near}\`?`;
  }
  const elsewhere = placesOf(key, everything, '');
  if (elsewhere.length > 0) {
    return `\`${key}\` belongs under ${elsewhere.join(' or ')}.`;
  }
  return `Known here: ${known.toSorted().join(', ')}.`;
}

function placesOf(key: string, fields: Fields, path: string): string[] {
  const places: string[] = [];
  for (const field of Object.values(fields)) {
    if (field.key === key) {
      places.push(path === '' ? 'the top level' : `\`${path}\``);
    }
    const inner = path === '' ? field.key : `${path}.${field.key}`;
    if (field.node === 'section') {
      places.push(...placesOf(key, field.fields as Fields, inner));
    } else if (field.node === 'map') {
      places.push(...placesOf(key, field.fields as Fields, `${inner}.<${field.keyName}>`));
    }
  }
  return places;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(replaced, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
