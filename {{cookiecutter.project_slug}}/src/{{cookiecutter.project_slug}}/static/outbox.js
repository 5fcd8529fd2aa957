/**
 * Own messages between the composer and the log: nothing typed is lost in silence, nothing is sent
 * twice by itself.
 *
 * The protocol carries no message id, so the echo of a text is its only receipt. A message without
 * an echo (the line broke, the server reported an error) may or may not have reached the others:
 * only its author can decide whether to send it again. No DOM here.
 *
 * An entry is {text, state}; state: "waiting" (for a connection) -> "sent" -> gone, or from "sent"
 * to "unconfirmed" and, when its author says so, to "waiting" again.
 * Events: "change" with the entry as `detail`; an entry that left has the state "gone".
 */
export class Outbox extends EventTarget {
  #send;
  #limit;
  #confirmWithin;
  #entries = [];
  #ready = false;

  /**
   * send(text): true if the text went out. limit: entries kept.
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

  get inFlight() {
    return this.#entries.some((entry) => entry.state === "sent");
  }

  /** False when the outbox is full: the text was not taken. */
  add(text) {
    if (this.#entries.length >= this.#limit) return false;
    const entry = { text, state: "waiting", timer: null };
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
    this.doubt();
  }

  /** Something went wrong that may concern any message under way; a late echo clears the doubt. */
  doubt() {
    for (const entry of this.#entries) {
      if (entry.state === "sent") this.#enter(entry, "unconfirmed");
    }
  }

  /** An own message came back. A late echo counts: an unconfirmed message has arrived after all. */
  echoed(text) {
    const entry = this.#entries.find((one) => one.state !== "waiting" && one.text === text);
    if (entry) this.discard(entry);
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

  #try(entry) {
    if (this.#ready && entry.state === "waiting" && this.#send(entry.text))
      this.#enter(entry, "sent");
  }

  #enter(entry, state) {
    clearTimeout(entry.timer);
    entry.state = state;
    if (state === "sent")
      entry.timer = setTimeout(() => this.#enter(entry, "unconfirmed"), this.#confirmWithin);
    this.dispatchEvent(new CustomEvent("change", { detail: entry }));
  }
}
