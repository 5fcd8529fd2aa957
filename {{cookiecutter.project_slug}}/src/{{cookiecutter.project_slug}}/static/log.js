/**
 * The conversation: what was said, each message once; notices; below them own messages that are not yet
 * there. Follows the end while the reader is there, and only then.
 */
import { byId, copyOf, element, part } from "./dom.js";
import { linked } from "./links.js";
import { paint } from "./people.js";

const MAX_ROWS = 500; // a tab left open for a week stays small
const END_ZONE = 48; // px from the end that still count as "at the end"
const SAME_BREATH = 120; // seconds within which the next message of one author needs no new heading
const WAITS = "Waiting for the connection";
const DOUBTS = { doubtful: "May not have arrived.", refused: "Not delivered." };
const STATE = { waiting: WAITS, sent: "Sending…", delivered: "Delivered", unconfirmed: WAITS, ...DOUBTS };

export class Log {
  #scroller = byId("scroller");
  #rows = byId("log");
  #shown = new Map(); // `user.id message.id` -> its row
  #pending = new Map(); // id in the outbox -> its row
  #last = null; // the message shown last, if no notice came between
  #atEnd = true;
  #height = 0; // of the view when it was last measured

  constructor() {
    this.#scroller.addEventListener("scroll", () => this.#scrolled());
    byId("to-bottom").addEventListener("click", () => this.#follow());
    // A phone's keyboard or a notice shrinks the view; the end must stay in sight.
    new ResizeObserver(() => {
      this.#height = this.#scroller.clientHeight;
      if (this.#atEnd) this.#follow();
    }).observe(this.#scroller);
  }

  has(user, id) {
    return this.#shown.has(`${user.id} ${id}`);
  }

  /** Shows {user, id, text, at}, `at` in seconds since the epoch, unless it stands there already. */
  add(message, mine) {
    const { user, id, text, at } = message;
    if (this.has(user, id)) return;
    const when = new Date(at * 1000);
    const clock = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const row = paint(copyOf("message-row", { text: linked(text), time: clock }), user);
    Object.assign(part(row, "time"), { dateTime: when.toISOString(), title: when.toLocaleString() });
    row.classList.toggle("mine", mine);
    row.classList.toggle("follows", this.#last?.user.id === user.id && at - this.#last.at < SAME_BREATH);
    this.#shown.set(`${user.id} ${id}`, row);
    if (this.#shown.size > MAX_ROWS) this.#shown.delete(this.#shown.keys().next().value);
    this.#last = message;
    this.#append(row, mine);
  }

  /** look: "line", "line bad" for a line from side to side; "line unread" is there once. */
  notice(text, look = "") {
    this.#last = null;
    this.#append(element("li", { className: `notice-row ${look}` }, text));
  }

  /** A line before what comes next, which the reader has not seen; the one before it goes. */
  markUnread(is) {
    if (is && !this.#rows.querySelector(".unread")) this.notice("New", "line unread");
    else if (!is) this.#rows.querySelector(".unread")?.remove();
  }

  /** Shows one entry of the outbox as it is now; its author decides by `again` and `discard`. */
  showPending({ id, text, state, detail }, again, discard) {
    const before = this.#pending.get(id);
    if (state === "gone") {
      this.#pending.delete(id);
      return before.remove();
    }
    const row = copyOf("pending-row", { text: linked(text), status: `${STATE[state]} ${detail}` });
    row.dataset.state = state;
    part(row, "again").onclick = again;
    part(row, "discard").onclick = discard;
    this.#pending.set(id, row);
    if (before) before.replaceWith(row);
    else byId("outbox").append(row);
    if (!before || this.#atEnd) this.#follow();
  }

  #append(row, mine = false) {
    const follow = this.#atEnd || mine;
    this.#rows.append(row);
    while (this.#rows.children.length > MAX_ROWS) this.#rows.firstChild.remove();
    if (follow) this.#follow();
    else byId("to-bottom").hidden = false;
  }

  #follow() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#atEnd = byId("to-bottom").hidden = true;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    // The view was resized, not scrolled by the reader: the observer, which comes later, decides.
    if (clientHeight !== this.#height) return;
    this.#atEnd = scrollHeight - scrollTop - clientHeight < END_ZONE;
    if (this.#atEnd) byId("to-bottom").hidden = true;
  }
}
