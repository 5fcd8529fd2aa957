/** Own messages until their echo: each goes out in its turn, one at a time, or its author is told. */
import { announce, byId, copyOf, linked, part } from "./dom.js";
import { follow } from "./log.js";

const LIMIT = 50; // entries, half of what the server takes at once
const WORDS = {
  waiting: "Waiting for the connection", // for the room, or for its turn
  sent: "Sending…", // without an answer yet
  delivered: "Delivered", // the room's log has it; its echo is on its way
  // The line broke before an answer. What the room said meanwhile shows it, or, if that is complete, proves that
  // it is not there: then it goes out again, under the same id.
  unconfirmed: "Waiting for the connection",
  doubtful: "May not have arrived.", // nothing can be proven: its author decides, as of one that was
  refused: "Not delivered.", // by the server, with its sentence
};

export class Outbox {
  entries = []; // {id, text, row, state}

  constructor(line, room) {
    Object.assign(this, { line, room });
  }

  /** False when the outbox is full: the text was not taken. */
  add(text) {
    if (this.entries.length >= LIMIT) return false;
    const id = crypto.getRandomValues(new BigUint64Array(2)).join("-"); // `randomUUID` needs https
    const entry = { id, text, row: copyOf("pending-row", { text: linked(text) }) };
    part(entry.row, "again").onclick = () => this.enter(entry, "waiting");
    part(entry.row, "discard").onclick = () => this.remove(id);
    byId("outbox").append(entry.row);
    this.entries.push(entry);
    this.enter(entry, "waiting");
    follow();
    return true;
  }

  /** Its echo came, or its author gave it up. */
  remove(id) {
    this.entries.find((entry) => entry.id === id)?.row.remove();
    this.entries = this.entries.filter((entry) => entry.id !== id);
    this.next();
  }

  /** The room was joined, and the echoes among what was missed were told. */
  joined(complete) {
    for (const entry of this.entries)
      if (entry.state === "unconfirmed") this.enter(entry, complete ? "waiting" : "doubtful");
    this.next();
  }

  enter(entry, state, detail = "") {
    const words = `${WORDS[state]} ${detail}`;
    entry.state = entry.row.dataset.state = state;
    part(entry.row, "status").textContent = words;
    if (["doubtful", "refused"].includes(state)) announce(`A message: ${words}`);
    this.next();
  }

  async next() {
    const entry = this.entries.find(({ state }) => state === "waiting");
    if (!entry || !this.room.joined || this.entries.some(({ state }) => state === "sent")) return;
    this.enter(entry, "sent");
    try {
      await this.line.ask({ type: "say", group: this.room.name, text: entry.text }, { id: entry.id });
      this.enter(entry, "delivered");
    } catch ({ code, message }) {
      if (["offline", "lost", "timeout"].includes(code)) this.enter(entry, "unconfirmed");
      else this.enter(entry, "refused", message);
    }
  }
}
