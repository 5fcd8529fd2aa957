/** The user's jobs, the same on each device: an answer that grows word by word, or steps with a bar. */
import { announce, byId, copyOf, element, listen, part } from "./dom.js";

const SHOWN = 10; // the newest ones
const WORDS = { waiting: "Waiting for a worker", done: "Done", failed: "Failed", cancelled: "Cancelled" };

export class Jobs {
  #line;
  #groups = new Map(); // job -> its group, the newest last

  constructor(line) {
    this.#line = line;
    const show = (job) => this.#show(job);
    listen(line.join("jobs.me", { history: SHOWN }), { joined: ({ events }) => events.forEach(show), event: show });
  }

  /** kind: "answer", to a prompt, or "steps"; `Refused` if the server does not want it. */
  async start(kind, prompt) {
    this.#show(await this.#line.ask({ type: "start_job", kind, prompt }));
  }

  #show({ job, job_group, prompt, kind }) {
    if (this.#groups.has(job)) return;
    const row = copyOf("job-row", { title: prompt || "A job with steps" });
    row.dataset.kind = kind;
    byId("jobs").prepend(row);
    enter(row, "waiting");
    const group = this.#line.join(job_group, { history: 1000 });
    this.#groups.set(job, group);
    listen(group, {
      joined({ events, returning, complete }) {
        if (!returning || !complete) part(row, "words").replaceChildren();
        for (const event of events) advance(row, event, group);
      },
      event(event) {
        advance(row, event, group);
        const words = ["title", "state"].map((name) => part(row, name).textContent);
        if (event.type === "job_ended") announce(words.join(": "));
      },
      refused: ({ message }) => enter(row, "failed", message),
    });
    const cancel = () => this.#line.ask({ type: "cancel_job", job });
    part(row, "cancel").onclick = () => cancel().catch(({ message }) => enter(row, row.dataset.state, message));
    if (byId("jobs").children.length <= SHOWN) return;
    byId("jobs").lastChild.remove();
    [...this.#groups.values()].at(-1 - SHOWN).leave();
  }
}

function advance(row, { type, text, done, total, label, state, detail }, group) {
  if (type === "job_output") part(row, "words").append(element("span", {}, text));
  if (type === "job_progress") Object.assign(part(row, "progress"), { max: total, value: done });
  if (type !== "job_ended") return enter(row, "running", label ?? "Answering…");
  enter(row, state, detail);
  group.leave();
}

function enter(row, state, detail) {
  row.dataset.state = state;
  part(row, "state").textContent = [WORDS[state], detail].filter(Boolean).join(": ");
  byId("running-jobs").textContent = byId("jobs").querySelectorAll("[data-state=running]").length || "";
}
