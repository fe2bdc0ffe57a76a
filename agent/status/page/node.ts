/** What a page is made of. No element here can load or run anything. */
export type Tag =
  | 'a'
  | 'bdi'
  | 'code'
  | 'dd'
  | 'details'
  | 'div'
  | 'dl'
  | 'dt'
  | 'footer'
  | 'h1'
  | 'h2'
  | 'h3'
  | 'header'
  | 'li'
  | 'meter'
  | 'nav'
  | 'p'
  | 'section'
  | 'span'
  | 'strong'
  | 'summary'
  | 'table'
  | 'tbody'
  | 'td'
  | 'th'
  | 'thead'
  | 'tr'
  | 'ul';

export type Attributes = {
  readonly class?: string;
  readonly href?: string;
  /** Only as long as nobody has opened or closed it. */
  readonly open?: string;
  readonly value?: string;
  readonly high?: string;
};

/** An element, as plain JSON: tag, attributes, children; or a text. */
export type ViewNode =
  | string
  | readonly [tag: Tag, attributes: Attributes, children: readonly ViewNode[]];

/** An element with a class; an empty class is none. */
export function el(tag: Tag, className: string, ...children: readonly ViewNode[]): ViewNode {
  return [tag, className === '' ? {} : { class: className }, children];
}

/** An element with other attributes. Their values must be ours, never a name that comes from the bucket. */
export function elWith(
  tag: Tag,
  attributes: Attributes,
  ...children: readonly ViewNode[]
): ViewNode {
  return [tag, attributes, children];
}

/** HTML in which every text is a text, whatever is in it. */
export function toHtml(nodes: readonly ViewNode[]): string {
  return nodes.map(nodeHtml).join('');
}

function nodeHtml(node: ViewNode): string {
  if (typeof node === 'string') {
    return escapeHtml(node);
  }
  const [tag, attributes, children] = node;
  const shown = Object.entries(attributes).map(([key, value]) => ` ${key}="${escapeHtml(value)}"`);
  return `<${tag}${shown.join('')}>${toHtml(children)}</${tag}>`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** A text as part of HTML, between tags or in a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
