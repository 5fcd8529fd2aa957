/** The few lines of DOM that every view needs. Strings become text here, never markup. */

export const byId = (id) => document.getElementById(id);
export const part = (row, name) => row.querySelector(`.${name}`);

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

/** Tells a screen reader what the eye sees elsewhere on the page. */
export const announce = (text) => (byId("announcement").textContent = text);
