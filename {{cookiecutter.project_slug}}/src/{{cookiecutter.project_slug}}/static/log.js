/**
 * The conversation: what was said, each message once, and notices. The view, a column from below whose
 * `scrollTop` is 0 at its end and negative above, stays there while the reader is there, and only then.
 */
import { byId, copyOf, element, linked, part } from "./dom.js";
import { paint } from "./people.js";

const MAX_ROWS = 500; // a tab left open for a week stays small
const END_ZONE = 48; // px from the end that still count as "at the end"
const SAME_BREATH = 120; // seconds within which the next message of one author needs no new heading
const [scroller, rows, toBottom] = ["scroller", "log", "to-bottom"].map(byId);
let last = null; // the message shown last, if no notice came between
export let newestAt = 0; // when that was said, in any case

const isAtEnd = () => scroller.scrollTop > -END_ZONE;
const rowId = ({ user, id }) => `${user.id}/${id}`;
export const follow = () => (scroller.scrollTop = 0);
export const has = (message) => byId(rowId(message)) !== null;

/** Shows {user, id, text, at}, `at` in seconds since the epoch, unless it stands there already. */
export function add(message, mine) {
  const { user, text, at } = message;
  if (has(message)) return;
  const when = new Date(at * 1000);
  const clock = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const row = paint(copyOf("message-row", { text: linked(text), time: clock }), user);
  Object.assign(part(row, "time"), { dateTime: when.toISOString(), title: when.toLocaleString() });
  row.classList.toggle("mine", mine);
  row.classList.toggle("follows", last?.user.id === user.id && at - last.at < SAME_BREATH);
  row.id = rowId(message);
  [last, newestAt] = [message, at];
  append(row, mine);
}

/** look: "line", "line bad" for a line from side to side; "line unread" is there once. */
export function notice(text, look) {
  last = null;
  append(element("li", { className: `notice-row ${look}` }, text));
}

/** A line before what comes next, which the reader has not seen; the one before it goes. */
export function markUnread(is) {
  const line = part(rows, "unread");
  if (is && !line) notice("New", "line unread");
  else if (!is) line?.remove();
}

function append(row, mine = false) {
  const [follows, height] = [mine || isAtEnd(), scroller.scrollHeight];
  rows.append(row);
  if (follows) follow();
  else scroller.scrollTop -= scroller.scrollHeight - height; // what is being read stays where it is
  toBottom.hidden = follows;
  while (rows.children.length > MAX_ROWS) rows.firstChild.remove();
}

toBottom.onclick = follow;
scroller.onscroll = () => (toBottom.hidden ||= isAtEnd());
