/** The user's jobs, on each of their devices: an answer that grows word by word, or steps with a bar. */
import { announce, byId, copyOf, element, part } from "./dom.js";

const SHOWN = 10; // the newest ones
const STATE = { waiting: "Waiting for a worker", running: "", done: "Done", failed: "Failed", cancelled: "Cancelled" };

export class Jobs {
  #line;
  #jobs = new Map(); // id -> {row, group}, the newest last

  follow(line) {
    this.#line = line;
    this.clear();
    const mine = line.join("jobs.me", { history: SHOWN });
    mine.addEventListener("joined", ({ detail }) => detail.events.forEach((event) => this.#started(event)));
    mine.addEventListener("event", ({ detail }) => this.#started(detail));
  }

  clear() {
    this.#jobs.clear();
    byId("jobs").replaceChildren();
  }

  /** kind: "answer", to a prompt, or "steps"; `Refused` if the server does not want it. */
  async start(kind, prompt) {
    const { job, group } = await this.#line.ask({ type: "start_job", kind, prompt });
    this.#started({ job, job_group: group, kind, prompt });
  }

  #started({ job, job_group, kind, prompt }) {
    if (this.#jobs.has(job)) return;
    const row = copyOf("job-row", { title: prompt || "A job with steps" });
    row.dataset.kind = kind;
    part(row, "cancel").onclick = () => this.#line.ask({ type: "cancel_job", job }).catch(({ message }) => announce(message));
    byId("jobs").prepend(row);
    const group = this.#line.join(job_group, { history: 1000 });
    this.#jobs.set(job, { row, group });
    group.addEventListener("joined", ({ detail: { events, returning, complete } }) => {
      if (!returning || !complete) restart(row);
      for (const event of events) advance(row, event, group);
    });
    group.addEventListener("event", ({ detail }) => {
      advance(row, detail, group);
      if (detail.type === "job_ended") announce(`${part(row, "title").textContent}: ${part(row, "state").textContent}`);
    });
    group.addEventListener("refused", ({ detail }) => enter(row, "failed", detail.message));
    for (const [old, { row, group }] of [...this.#jobs].slice(0, -SHOWN)) {
      this.#jobs.delete(old);
      row.remove();
      group.leave();
    }
  }
}

function restart(row) {
  part(row, "output").replaceChildren();
  enter(row, "waiting");
}

function advance(row, { type, text, done, total, label, state, detail }, group) {
  if (type === "job_output") part(row, "output").append(element("span", {}, text));
  if (type === "job_progress") Object.assign(part(row, "progress"), { max: total, value: done });
  if (type !== "job_ended") return enter(row, "running", label);
  enter(row, state, detail);
  group.leave();
}

function enter(row, state, detail = "") {
  row.dataset.state = state;
  part(row, "state").textContent = [STATE[state], detail].filter(Boolean).join(": ");
  byId("running-jobs").textContent = document.querySelectorAll("#jobs [data-state=running]").length || "";
}
