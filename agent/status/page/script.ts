/**
 * The status page's script: plain JavaScript for browsers, without a build step. It asks for the page's nodes every two
 * seconds and changes only what differs, so that what is unfolded, scrolled or selected stays so. Texts become text
 * nodes; there is no way from a name to HTML.
 */
export const SCRIPT = `
'use strict';
const EVERY_MS = 2000, ANSWER_MS = 8000;
const root = document.documentElement, main = document.getElementById('status'), gone = document.getElementById('gone');
const icon = document.querySelector('link[rel=icon]');
const colours = { ok: '2e7d32', starting: '1565c0', warning: 'e08a00', error: 'c62828' };
let lastAnswer = new Date();
function make(node) {
  if (typeof node === 'string') return document.createTextNode(node);
  const [tag, attributes, children] = node, element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.map(make));
  return element;
}
function update(element, [, attributes, children]) {
  // Whoever opened or closed something wants it that way.
  for (const key of ['class', 'href', 'value', 'high']) {
    const value = attributes[key];
    if (value === undefined) element.removeAttribute(key);
    else if (element.getAttribute(key) !== value) element.setAttribute(key, value);
  }
  updateAll(element, children);
}
function updateAll(parent, nodes) {
  nodes.forEach((node, index) => {
    const old = parent.childNodes[index];
    if (old === undefined) parent.append(make(node));
    else if (typeof node === 'string' && old.nodeType === Node.TEXT_NODE) {
      if (old.data !== node) old.data = node;
    } else if (typeof node !== 'string' && old.localName === node[0]) update(old, node);
    else old.replaceWith(make(node));
  });
  while (parent.childNodes.length > nodes.length) parent.lastChild.remove();
}
function setIcon(verdict) {
  const href = icon.getAttribute('href').replace(/%23[0-9a-f]{6}/, '%23' + colours[verdict]);
  if (href !== icon.getAttribute('href')) icon.setAttribute('href', href);
}
function show(view) {
  // Another version of the agent: its page may be another one, too.
  if (view.page !== root.dataset.page) { location.reload(); return; }
  lastAnswer = new Date();
  gone.hidden = true;
  document.body.classList.remove('stale');
  document.title = view.title;
  setIcon(view.verdict);
  updateAll(main, view.nodes);
}
function unreachable(reason) {
  gone.textContent = 'No answer from the agent since ' + lastAnswer.toLocaleTimeString() + ' (' + reason
    + '). What is below is from then. Trying again.';
  gone.hidden = false;
  document.body.classList.add('stale');
  document.title = 'No answer';
  setIcon('error');
}
async function refresh() {
  try {
    const answer = await fetch('status-view.json', { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS) });
    if (!answer.ok) throw new Error('status ' + answer.status);
    show(await answer.json());
  } catch (error) {
    unreachable(error.message);
  }
  setTimeout(refresh, EVERY_MS);
}
setTimeout(refresh, EVERY_MS);
`;
