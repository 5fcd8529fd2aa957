/**
 * Own messages until their echo: each goes out in its turn, one at a time, or its author is told. No DOM.
 *
 * An entry is {id, text, state, detail}; state:
 *   waiting      for the room, or for its turn
 *   sent         without an answer yet
 *   delivered    the room's log has it; its echo is on its way
 *   unconfirmed  the line broke before an answer. What the room said meanwhile shows it, or, if that is
 *                complete, proves that it is not there: then it goes out again, under the same id
 *   doubtful     nothing can be proven: its author decides, as of one that was
 *   refused      by the server, with its sentence
 * An entry that left has the state "gone".
 */
const LIMIT = 50; // entries, half of what the server takes at once

export class Outbox {
  entries = [];
  #ask;
  #changed;
  #ready = false;
  #running = false;

  /** ask(entry): a promise of the server's answer. changed(entry) is called for each new state. */
  constructor(ask, changed) {
    this.#ask = ask;
    this.#changed = changed;
  }

  /** False when the outbox is full: the text was not taken. */
  add(text) {
    if (this.entries.length >= LIMIT) return false;
    const bytes = crypto.getRandomValues(new Uint8Array(16)); // `randomUUID` needs https
    const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    this.entries.push({ id, text });
    this.again(this.entries.at(-1));
    return true;
  }

  again(entry) {
    this.#enter(entry, "waiting");
    this.#run();
  }

  /** The room was joined, and the echoes among what was missed were told. */
  joined(complete) {
    for (const entry of this.entries)
      if (entry.state === "unconfirmed") this.#enter(entry, complete ? "waiting" : "doubtful");
    this.#ready = true;
    this.#run();
  }

  has(id) {
    return this.entries.some((entry) => entry.id === id);
  }

  /** Its echo came, or its author gave it up. */
  remove(id) {
    const gone = this.entries.find((entry) => entry.id === id);
    this.entries = this.entries.filter((entry) => entry !== gone);
    if (gone) this.#enter(gone, "gone");
  }

  async #run() {
    if (this.#running) return;
    this.#running = true;
    for (let entry; this.#ready && (entry = this.entries.find(({ state }) => state === "waiting")); )
      await this.#send(entry);
    this.#running = false;
  }

  async #send(entry) {
    this.#enter(entry, "sent");
    let [state, detail] = ["delivered"];
    try {
      await this.#ask(entry);
    } catch ({ code, message }) {
      this.#ready = !["offline", "lost", "timeout"].includes(code); // else until the next joining
      [state, detail] = this.#ready ? ["refused", message] : [code === "offline" ? "waiting" : "unconfirmed"];
    }
    if (entry.state === "sent") this.#enter(entry, state, detail); // unless its echo was quicker
  }

  #enter(entry, state, detail = "") {
    this.#changed(Object.assign(entry, { state, detail }));
  }
}
