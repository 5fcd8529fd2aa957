/**
 * The conversation: received messages, notices, and below them the own messages that are not
 * delivered yet.
 * Follows the end while the reader is there, and only then.
 */
import { byId, element } from "./dom.js";

const MAX_ROWS = 500; // a tab left open for a week stays small
const END_ZONE = 48; // px from the end that still count as "at the end"
const SAME_BREATH = 120; // seconds within which the next message of one author needs no new heading

const OUTBOX_TEXT = {
  waiting: "Waiting for the connection",
  sent: "Sending…",
  unconfirmed: "May not have arrived.",
};

export class Log {
  #scroller = byId("scroller");
  #rows = byId("log");
  #outbox = byId("outbox");
  #toBottom = byId("to-bottom");
  #pending = new Map(); // outbox entry -> its row
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
    this.#last = null;
    this.#follow();
  }

  /** message: {name, text, at} with `at` in seconds since the epoch. */
  addMessage(message, mine) {
    const follows = this.#last?.name === message.name && message.at - this.#last.at < SAME_BREATH;
    const row = messageRow(message.text, mine, follows);
    if (!follows) row.prepend(heading(message, mine));
    this.#last = message;
    this.#append(row, mine);
  }

  addNotice(text) {
    this.#last = null;
    this.#append(
      element("li", { className: "notice-row" }, element("span", { dir: "auto" }, text)),
    );
  }

  /** Shows one outbox entry as it is now; actions {label, run} are offered while unconfirmed. */
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
    if (entry.state === "unconfirmed") {
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
    element("p", { className: "text", dir: "auto" }, text),
  );
  row.classList.toggle("mine", mine);
  row.classList.toggle("follows", follows);
  return row;
}

function heading({ name, at }, mine) {
  const when = new Date(at * 1000);
  const time = element(
    "time",
    { dateTime: when.toISOString(), title: when.toLocaleString() },
    when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }),
  );
  const author = element(
    "b",
    { className: mine ? "unseen" : "author", dir: "auto" },
    mine ? "You" : name,
  );
  author.style.setProperty("--hue", hue(name));
  return element("p", { className: "meta" }, author, " ", time);
}

/** A colour of its own for each name, the same in every browser. */
function hue(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) >>> 0;
  return (sum * 137) % 360; // the golden angle: near sums, far colours
}
