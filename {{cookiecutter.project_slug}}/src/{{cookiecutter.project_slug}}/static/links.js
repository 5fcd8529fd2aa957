/** Web addresses in a text become links; all else stays text. Nothing here makes markup of a string. */
import { element } from "./dom.js";

const ADDRESS = /\bhttps?:\/\/[^\s<>"]+/gi;
const CLOSERS = { ")": "(", "]": "[", "}": "{" };

/** The text as nodes and strings, fit for `append`. */
export function linked(text) {
  const parts = [];
  let end = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    const address = withoutTail(found);
    const url = parse(address);
    if (!url) continue;
    parts.push(text.slice(end, index), link(address, url));
    end = index + address.length;
  }
  return [...parts, text.slice(end)].filter(Boolean);
}

function link(address, { href }) {
  // The title says in Punycode whose host it really is.
  const safe = { target: "_blank", rel: "noopener noreferrer nofollow", dir: "ltr", title: href };
  return element("a", { href, ...safe }, address);
}

/** Null for what is no web address, or holds a user: `https://bank.example@evil.example` deceives. */
function parse(address) {
  const url = URL.canParse(address) ? new URL(address) : null;
  const good = url && ["http:", "https:"].includes(url.protocol) && !url.username && !url.password;
  return good ? url : null;
}

/** A full stop or a bracket behind an address belongs to the sentence, unless it was opened within. */
function withoutTail(address) {
  for (;;) {
    const last = address.at(-1);
    const opener = CLOSERS[last];
    const unopened = opener && address.split(last).length > address.split(opener).length;
    if (!unopened && !".,;:!?'’”*_".includes(last)) return address;
    address = address.slice(0, -1);
  }
}
