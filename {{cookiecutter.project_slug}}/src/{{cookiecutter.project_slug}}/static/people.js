/** Who is who: colours and initials of users; who is here, and who is typing. */
import { byId, copyOf, element, part } from "./dom.js";

const HUES = [255, 25, 145, 305, 60, 195, 350, 110, 280, 40, 170, 230]; // neighbours far apart
const FACES = 3;
const TYPING = 5000; // ms that a sign of typing holds; a page gives one each 3 s
const hues = new Map(); // user id -> hue
const bearers = new Map(); // name -> ids of users
const here = new Map(); // user id -> {id, name, connections}
const typing = new Map(); // user id -> {name, timer}
let drawing = null;

/** The hue of a user, in degrees of oklch: the id decides, and where that one is taken the next free one. */
export function hueOf(id) {
  const sum = [...id].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) >>> 0, 0);
  const inTurn = HUES.map((_, number) => HUES[(sum + number) % HUES.length]);
  if (!hues.has(id)) hues.set(id, inTurn.find((hue) => ![...hues.values()].includes(hue)) ?? inTurn[0]);
  return hues.get(id);
}

/** Gives a row its user's colour, initial and name, and a tag as soon as two users bear that name. */
export function paint(row, { id, name }) {
  const [avatar, tag] = [part(row, "avatar"), part(row, "tag")];
  for (const one of [row, avatar]) one.style.setProperty("--hue", hueOf(id));
  avatar.textContent = [...new Intl.Segmenter().segment(name)][0].segment.toUpperCase();
  part(row, "name").replaceChildren(element("bdi", {}, name));
  Object.assign(tag, { textContent: `#${id.slice(0, 4)}`, title: name });
  bearers.set(name, (bearers.get(name) ?? new Set()).add(id));
  const same = bearers.get(name).size > 1 ? [tag, ...document.querySelectorAll(".tag[hidden]")] : [];
  for (const one of same) one.hidden = one.title !== name;
  return row;
}

/** `members` are all, or the first of `count`; `joined` and `left` (ids) change them. `me` comes first. */
export function update(me, { members, joined = members ?? [], left = [], count = joined.length }) {
  if (members) here.clear();
  for (const member of joined) here.set(member.id, member);
  for (const id of left) here.delete(id);
  cancelAnimationFrame(drawing); // once a frame, however many come
  drawing = requestAnimationFrame(() => {
    const key = ({ id, name }) => (id === me.id ? "" : `_${name.toLowerCase()}`);
    const rows = [...here.values()].sort((a, b) => (key(a) < key(b) ? -1 : 1)).map((member) => {
      const devices = member.connections > 1 ? `${member.connections} devices` : "";
      return paint(copyOf("member-row", { devices, you: member.id === me.id ? "you" : "" }), member);
    });
    byId("members").replaceChildren(...rows);
    byId("faces").replaceChildren(...rows.slice(0, FACES).map((row) => part(row, "avatar").cloneNode(true)));
    byId("more-members").textContent = count > rows.length ? `and ${count - rows.length} more` : "";
    for (const id of ["people-count", "faces-count"]) byId(id).textContent = count;
  });
}

/** For a while, or until it is false. */
export function types({ id, name }, is = true) {
  clearTimeout(typing.get(id)?.timer);
  if (is) typing.set(id, { name, timer: setTimeout(types, TYPING, { id }, false) });
  else typing.delete(id);
  const [one, two] = [...typing.values()].map(({ name }) => element("bdi", {}, name));
  const said = [[], [one, " is typing"], [one, " and ", two, " are typing"]];
  byId("typing").replaceChildren(...(said[typing.size] ?? ["Several people are typing"]));
}
