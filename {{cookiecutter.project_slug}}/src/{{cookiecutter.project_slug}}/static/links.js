/** Web addresses in a text become links; all else stays text. Nothing here makes markup of a string. */
import { element } from "./dom.js";

// A full stop or a bracket behind an address belongs to the sentence, unless it was opened within.
const WITHIN = /\([^\s<>"()]*\)|[^\s<>"()]/.source;
const END = /\([^\s<>"()]*\)|[^\s<>"().,;:!?'’”*_[\]{}]/.source;
const ADDRESS = new RegExp(`(\\bhttps?://(?:${WITHIN})*(?:${END}))`, "i");

/** The text as nodes and strings, fit for `append`. */
export const linked = (text) =>
  text.split(ADDRESS).map((piece, number) => (number % 2 && isPlain(piece) ? link(piece) : piece));

/** `https://bank.example@evil.example` deceives. */
function isPlain(address) {
  const url = URL.canParse(address) && new URL(address);
  return url && !url.username && !url.password;
}

function link(address) {
  const { href } = new URL(address); // the title says in Punycode whose host it really is
  const safe = { target: "_blank", rel: "noopener noreferrer nofollow", dir: "ltr", title: href };
  return element("a", { href, ...safe }, address);
}
