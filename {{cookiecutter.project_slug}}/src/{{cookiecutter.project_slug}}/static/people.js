/** Who is who: colours and initials of users, who is here, who is typing. */
import { announce, bdi, byId, copyOf, element, part } from "./dom.js";

const HUES = [255, 25, 145, 305, 60, 195, 350, 110, 280, 40, 170, 230]; // neighbours far apart
const FACES = 3;
const TYPING = 5000; // ms that a sign of typing holds; a page gives one each 3 s
const hues = new Map(); // user id -> hue
const bearers = new Map(); // name -> ids of users

/** The hue of a user, in degrees of oklch: the id decides, and where that one is taken the next free one. */
export function hueOf(id) {
  if (hues.has(id)) return hues.get(id);
  const first = [...id].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) >>> 0, 0) % HUES.length;
  const inTurn = [...HUES.slice(first), ...HUES.slice(0, first)];
  const taken = new Set(hues.values());
  hues.set(id, inTurn.find((hue) => !taken.has(hue)) ?? inTurn[0]);
  return hues.get(id);
}

/** Gives a row its user's colour, initial and name; a tag where two users bear one name. */
export function paint(row, { id, name }) {
  row.style.setProperty("--hue", hueOf(id));
  part(row, "avatar")?.replaceChildren(initial(name));
  part(row, "name").replaceChildren(bdi(name));
  const ids = bearers.get(name) ?? new Set();
  bearers.set(name, ids.add(id));
  part(row, "tag").textContent = `#${id.slice(0, 4)}`;
  part(row, "tag").dataset.of = name;
  for (const tag of [part(row, "tag"), ...(ids.size === 2 ? document.querySelectorAll(".tag") : [])])
    if (tag.dataset.of === name) tag.hidden = ids.size < 2;
  return row;
}

const initial = (name) => new Intl.Segmenter().segment(name)[Symbol.iterator]().next().value.segment.toUpperCase();

export class People {
  #members = new Map(); // user id -> {id, name, connections}
  #count = 0;
  #typing = new Map(); // user id -> {name, timer}

  /** All that are here: `members` may be the first of `count`. */
  are(me, members = [], count = members.length) {
    this.#members = new Map(members.map((member) => [member.id, member]));
    this.#show(me, count);
  }

  changed(me, { joined, left, count }) {
    for (const member of joined) this.#members.set(member.id, member);
    for (const id of left) this.#members.delete(id);
    this.#show(me, count);
  }

  types({ id, name }) {
    this.stopsTyping(id);
    this.#typing.set(id, { name, timer: setTimeout(() => this.stopsTyping(id), TYPING) });
    this.#showTyping();
  }

  stopsTyping(id) {
    clearTimeout(this.#typing.get(id)?.timer);
    if (this.#typing.delete(id)) this.#showTyping();
  }

  #show(me, count) {
    const order = (one) => (one.id === me.id ? "" : `x${one.name.toLowerCase()}`);
    const members = [...this.#members.values()].sort((a, b) => (order(a) < order(b) ? -1 : 1));
    byId("members").replaceChildren(...members.map((member) => memberRow(member, me)));
    byId("more-members").textContent = count > members.length ? `and ${count - members.length} more` : "";
    for (const id of ["people-count", "faces-count"]) byId(id).textContent = count;
    byId("faces").replaceChildren(...members.slice(0, FACES).map(face));
  }

  #showTyping() {
    const names = [...this.#typing.values()].map(({ name }) => bdi(name));
    const [first, second] = names;
    const said = [[], [first, " is typing"], [first, " and ", second, " are typing"]];
    byId("typing").replaceChildren(...(said[names.length] ?? ["Several people are typing"]));
  }
}

function memberRow(member, me) {
  const { connections } = member;
  const devices = connections > 1 ? `${connections} devices` : "";
  return paint(copyOf("member-row", { devices, you: member.id === me.id ? "you" : "" }), member);
}

function face({ id, name }) {
  const made = element("span", { className: "avatar" }, initial(name));
  made.style.setProperty("--hue", hueOf(id));
  return made;
}
