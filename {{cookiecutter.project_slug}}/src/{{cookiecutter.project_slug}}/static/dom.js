/** The few lines of DOM that every view needs. */

export const byId = (id) => document.getElementById(id);

/** Makes an element; strings among the children become text, never markup. */
export function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

/** What others wrote, inside a sentence of ours: its direction ends with it. */
export const bdi = (text) => element("bdi", {}, text);

/** Tells a screen reader what the eye sees elsewhere on the page. */
export function announce(text) {
  byId("announcement").textContent = text;
}
