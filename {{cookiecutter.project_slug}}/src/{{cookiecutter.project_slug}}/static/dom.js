/** What every view needs of the DOM. Strings become text here, never markup; web addresses in them become links. */

export const byId = (id) => document.getElementById(id);
export const part = (row, name) => row.querySelector(`.${name}`);
/** Tells a screen reader what the eye sees elsewhere on the page. */
export const announce = (text) => (byId("announcement").textContent = text);

export function element(tag, attributes, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

/** A copy of a template of the page; `parts` says what its elements of these classes hold. */
export function copyOf(id, parts) {
  const made = byId(id).content.firstElementChild.cloneNode(true);
  for (const [name, content] of Object.entries(parts)) part(made, name).replaceChildren(...[content].flat());
  return made;
}

/** Listeners of a line or a group, by type of event; each gets its detail. */
export function listen(target, listeners) {
  for (const [type, listener] of Object.entries(listeners))
    target.addEventListener(type, ({ detail }) => listener(detail));
}

// A full stop or a bracket behind an address belongs to the sentence, unless it was opened within.
const ADDRESS = /(\bhttps?:\/\/(?:\([^\s<>"()]*\)|[^\s<>"()])*(?:\([^\s<>"()]*\)|[^\s<>"().,;:!?'’”*_[\]{}]))/i;

/** The text as nodes and strings, fit for `append`. */
export const linked = (text) => text.split(ADDRESS).map((piece, number) => (number % 2 ? link(piece) : piece));

/** A text that is no address, or deceives, as `https://bank.example@evil.example` does, stays one. */
function link(text) {
  const { href, username, password } = URL.canParse(text) ? new URL(text) : {};
  if (!href || username || password) return text;
  const safe = { target: "_blank", rel: "noopener noreferrer nofollow", dir: "ltr" };
  return element("a", { href, title: href, ...safe }, text); // the title says in Punycode whose host it really is
}
