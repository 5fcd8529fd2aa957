/**
 * The conversation: received messages, notices, and below them the own messages that are not
 * delivered yet.
 * Follows the end while the reader is there, and only then.
 */
import { Colours } from "./colours.js";
import { bdi, byId, element } from "./dom.js";
import { linked } from "./links.js";

const MAX_ROWS = 500; // a tab left open for a week stays small
const END_ZONE = 48; // px from the end that still count as "at the end"
const SAME_BREATH = 120; // seconds within which the next message of one author needs no new heading

const OUTBOX_TEXT = {
  waiting: "Waiting for the connection",
  sent: "Sending…",
  unconfirmed: "May not have arrived.",
  refused: "Not delivered.",
};
const UNDECIDED = ["unconfirmed", "refused"]; // the author says what becomes of it

export class Log {
  #scroller = byId("scroller");
  #rows = byId("log");
  #outbox = byId("outbox");
  #toBottom = byId("to-bottom");
  #pending = new Map(); // outbox entry -> its row
  #colours = new Colours();
  #last = null; // the message shown last, if no notice came between
  #atEnd = true;
  #height = 0; // of the view when it was last measured

  constructor() {
    this.#scroller.addEventListener("scroll", () => this.#scrolled());
    this.#toBottom.addEventListener("click", () => this.#follow());
    // A phone's keyboard or a notice shrinks the view; the end must stay in sight.
    new ResizeObserver(() => {
      this.#height = this.#scroller.clientHeight;
      if (this.#atEnd) this.#follow();
    }).observe(this.#scroller);
  }

  clear() {
    this.#rows.replaceChildren();
    this.#colours.clear();
    this.#last = null;
    this.#follow();
  }

  /**
   * message: {name, text, at, client} with `at` in seconds since the epoch.
   * badge: "mine", or what else a reader has to know about who spoke.
   */
  addMessage(message, badge = "") {
    const mine = badge === "mine";
    const follows = this.#last !== null && sameBreath(this.#last, message);
    const row = messageRow(message.text, mine, follows);
    if (!follows) row.prepend(mine ? ownHeading(message) : this.#heading(message, badge));
    this.#last = message;
    this.#append(row, mine);
  }

  addNotice(...parts) {
    this.#last = null;
    this.#append(element("li", { className: "notice-row" }, ...parts));
  }

  /** Shows one outbox entry as it is now; actions {label, run} are offered where its author decides. */
  showPending(entry, actions) {
    const before = this.#pending.get(entry);
    if (entry.state === "gone") {
      before?.remove();
      this.#pending.delete(entry);
      return;
    }
    const row = messageRow(entry.text, true, true);
    row.classList.add("pending", entry.state);
    const status = element("p", { className: "meta" }, OUTBOX_TEXT[entry.state]);
    if (entry.detail) status.append(` ${entry.detail}`);
    if (UNDECIDED.includes(entry.state)) {
      for (const { label, run } of actions) {
        status.append(
          element("button", {
            type: "button",
            className: "quiet",
            textContent: label,
            onclick: run,
          }),
        );
      }
    }
    row.append(status);
    this.#pending.set(entry, row);
    if (before) before.replaceWith(row);
    else this.#outbox.append(row);
    if (!before || this.#atEnd) this.#follow();
  }

  #heading({ name, at }, badge) {
    const author = element("b", { className: "author" }, bdi(name));
    author.style.setProperty("--hue", this.#colours.of(name));
    const heading = element("p", { className: "meta" }, author, " ");
    if (badge) heading.append(element("span", { className: "badge" }, badge), " ");
    heading.append(time(at));
    return heading;
  }

  #append(row, mine = false) {
    const follow = this.#atEnd || mine;
    this.#rows.append(row);
    while (this.#rows.children.length > MAX_ROWS) this.#rows.firstChild.remove();
    if (follow) this.#follow();
    else this.#toBottom.hidden = false;
  }

  #follow() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#atEnd = true;
    this.#toBottom.hidden = true;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    // The view was resized, not scrolled by the reader: the observer, which comes later, decides.
    if (clientHeight !== this.#height) return;
    this.#atEnd = scrollHeight - scrollTop - clientHeight < END_ZONE;
    if (this.#atEnd) this.#toBottom.hidden = true;
  }
}

function messageRow(text, mine, follows) {
  const row = element(
    "li",
    { className: "message" },
    element("p", { className: "text", dir: "auto" }, ...linked(text)),
  );
  row.classList.toggle("mine", mine);
  row.classList.toggle("follows", follows);
  return row;
}

function ownHeading({ at }) {
  return element("p", { className: "meta" }, element("b", { className: "unseen" }, "You"), " ", time(at));
}

function time(at) {
  const when = new Date(at * 1000);
  return element(
    "time",
    { dateTime: when.toISOString(), title: when.toLocaleString() },
    when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }),
  );
}

/** One connection under one name: a heading stands for both. */
function sameBreath(before, message) {
  const same = before.client === message.client && before.name === message.name;
  return same && message.at - before.at < SAME_BREATH;
}
