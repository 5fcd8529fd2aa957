/** The list of jobs this page started: one row with a progress bar each. */
import { announce, byId, element } from "./dom.js";

const MAX_ROWS = 20;
const STATE_TEXT = {
  starting: "Waiting for a worker",
  done: "Done",
  lost: "Connection lost, progress unknown",
};

export class Jobs {
  #list = byId("jobs");
  #clear = byId("clear-jobs");
  #rows = []; // {id, job, title, state, item, bar, text}; job: null until a first progress names it
  #count = 0;

  constructor() {
    this.#clear.addEventListener("click", () => this.clear((row) => !this.#isRunning(row)));
    this.clear();
  }

  /** A job was requested by the frame `id`; the server's answer to it names the job. */
  requested(id = null) {
    const bar = element("progress", { max: 1 });
    const text = element("span", { className: "hint" });
    const title = `Job ${++this.#count}`;
    bar.setAttribute("aria-label", title);
    const item = element(
      "li",
      {},
      element("div", { className: "bar" }, element("b", {}, title), text),
      bar,
    );
    const row = { id, job: null, title, item, bar, text };
    this.#rows.push(row);
    this.#list.prepend(item);
    this.#enter(row, "starting");
    const overdue = this.#rows.length > MAX_ROWS && this.#rows.find((one) => !this.#isRunning(one));
    if (overdue) this.clear((one) => one === overdue);
    return row;
  }

  progress({ id, job, done, total }) {
    const row = this.#named(job, id);
    if (row.state === "done") return; // overtaken on the way
    row.bar.max = total;
    row.bar.value = done;
    this.#enter(row, "running", `${Math.floor((100 * done) / total)} %`);
  }

  done({ job, total }) {
    const row = this.#named(job);
    row.bar.max = row.bar.value = total;
    this.#enter(row, "done");
  }

  /** The server refused the request with this id; false if there is none. */
  refused(id, detail) {
    const row = this.#rows.find((one) => one.id === id && one.state === "starting");
    if (row) this.#enter(row, "failed", detail);
    return Boolean(row);
  }

  /** Progress goes to the connection that asked: a new one does not hear of these jobs. */
  disconnected() {
    for (const row of this.#rows) if (this.#isRunning(row)) this.#enter(row, "lost");
  }

  clear(matches = () => true) {
    for (const row of this.#rows.filter(matches)) row.item.remove();
    this.#rows = this.#rows.filter((row) => !matches(row));
    this.#update();
  }

  /** The row of a job; a worker may be quicker than the answer to the request `id`. */
  #named(job, id) {
    let row = this.#rows.find((one) => one.job === job);
    row ??= this.#rows.find((one) => one.job === null && one.id === id);
    row ??= this.#rows.find((one) => one.state === "starting") ?? this.requested();
    row.job = job;
    row.item.title = job;
    return row;
  }

  #isRunning(row) {
    return row.state === "starting" || row.state === "running";
  }

  #enter(row, state, text = STATE_TEXT[state]) {
    if (row.state !== state && state !== "running") announce(`${row.title}: ${text}`);
    row.state = row.item.dataset.state = state;
    row.text.textContent = text;
    // Without a value the bar is an endless one: right while we wait, wrong afterwards.
    if (!this.#isRunning(row) && !row.bar.hasAttribute("value")) row.bar.value = 0;
    this.#update();
  }

  #update() {
    byId("jobs-count").textContent = this.#rows.length > 1 ? `(${this.#rows.length})` : "";
    byId("jobs-empty").hidden = this.#rows.length > 0;
    this.#clear.hidden = this.#rows.every((row) => this.#isRunning(row));
  }
}
