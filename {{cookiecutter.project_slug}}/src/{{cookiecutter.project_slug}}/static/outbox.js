/**
 * Own messages between the composer and the log: nothing typed is lost in silence, nothing is sent
 * twice by itself.
 *
 * Each message has an id, which its echo or the error that answers it carries. A message with neither
 * (the line broke) may or may not have reached the others: only its author can decide whether to
 * send it again. No DOM here.
 *
 * An entry is {id, text, state, detail}; state: "waiting" (for a connection) -> "sent" -> gone, or
 * from "sent" to "unconfirmed" or, with the server's `detail`, "refused"; from both, when its author
 * says so, to "waiting" again.
 * Events: "change" with the entry as `detail`; an entry that left has the state "gone".
 */
import { newId } from "./ids.js";

export class Outbox extends EventTarget {
  #send;
  #limit;
  #confirmWithin;
  #entries = [];
  #ready = false;

  /**
   * send({id, text}): true if the message went out. limit: entries kept.
   * confirmWithin: ms until a missing echo is reported.
   */
  constructor(send, { limit = 50, confirmWithin = 10_000 } = {}) {
    super();
    this.#send = send;
    this.#limit = limit;
    this.#confirmWithin = confirmWithin;
  }

  get size() {
    return this.#entries.length;
  }

  /** False when the outbox is full: the text was not taken. */
  add(text) {
    if (this.#entries.length >= this.#limit) return false;
    const entry = { id: newId(), text, state: "waiting", detail: "", timer: null };
    this.#entries.push(entry);
    this.#enter(entry, "waiting");
    this.#try(entry);
    return true;
  }

  /** The server welcomed us: sends what waits, in the order it was written. */
  connected() {
    this.#ready = true;
    for (const entry of this.#entries) this.#try(entry);
  }

  disconnected() {
    this.#ready = false;
    for (const entry of this.#entries) {
      if (entry.state === "sent") this.#enter(entry, "unconfirmed");
    }
  }

  /** An own message came back; late counts too: an unconfirmed message has arrived after all. */
  echoed(id) {
    const entry = this.#entry(id);
    if (entry) this.discard(entry);
  }

  /** The server refused the message with this id; false if there is none. */
  refused(id, detail) {
    const entry = this.#entry(id);
    if (entry) this.#enter(entry, "refused", detail);
    return Boolean(entry);
  }

  sendAgain(entry) {
    this.#enter(entry, "waiting");
    this.#try(entry);
  }

  discard(entry) {
    this.#entries = this.#entries.filter((one) => one !== entry);
    this.#enter(entry, "gone");
  }

  /** Empties the outbox; returns the texts that had no receipt. */
  takeAll() {
    const entries = [...this.#entries];
    for (const entry of entries) this.discard(entry);
    this.#ready = false;
    return entries.map((entry) => entry.text);
  }

  #entry(id) {
    return this.#entries.find((entry) => entry.id === id);
  }

  #try(entry) {
    if (this.#ready && entry.state === "waiting" && this.#send(entry)) this.#enter(entry, "sent");
  }

  #enter(entry, state, detail = "") {
    clearTimeout(entry.timer);
    entry.state = state;
    entry.detail = detail;
    if (state === "sent")
      entry.timer = setTimeout(() => this.#enter(entry, "unconfirmed"), this.#confirmWithin);
    this.dispatchEvent(new CustomEvent("change", { detail: entry }));
  }
}
