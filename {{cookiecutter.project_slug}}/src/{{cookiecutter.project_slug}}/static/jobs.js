/** The user's jobs, the same on each device: an answer that grows word by word, or steps with a bar. */
import { announce, byId, copyOf, element, listen, part } from "./dom.js";

const SHOWN = 10; // the newest ones
const WORDS = { waiting: "Waiting for a worker", done: "Done", failed: "Failed", cancelled: "Cancelled" };

export function followJobs(line) {
  const show = (job) => byId(job.job) ?? showJob(line, job);
  listen(line.join("jobs.me", { history: SHOWN }), { joined: ({ events }) => events.forEach(show), event: show });
  byId("ask").onsubmit = async (event) => {
    event.preventDefault();
    const prompt = event.submitter.formNoValidate ? undefined : byId("prompt").value;
    const told = await line.ask({ type: "start_job", kind: event.submitter.value, prompt }).catch((error) => error);
    byId("job-error").textContent = told.message ?? "";
    if (told.job) show(told);
    if (told.job && prompt) event.target.reset();
  };
}

function showJob(line, { job, job_group, prompt, kind }) {
  const row = Object.assign(copyOf("job-row", { title: prompt || "A job with steps" }), { id: job });
  row.dataset.kind = kind;
  byId("jobs").prepend(row);
  byId("jobs").children[SHOWN]?.remove(); // has ended, as fewer may be under way
  enter(row, "waiting");
  const group = line.join(job_group, { history: 1000 });
  listen(group, {
    joined({ events, returning, complete }) {
      if (!returning || !complete) part(row, "words").replaceChildren();
      for (const event of events) advance(row, event, group);
    },
    event(event) {
      advance(row, event, group);
      if (event.type === "job_ended") announce(`${part(row, "title").textContent}: ${part(row, "state").textContent}`);
    },
    refused: ({ message }) => enter(row, "failed", message),
  });
  const complain = ({ message }) => enter(row, row.dataset.state, message);
  part(row, "cancel").onclick = () => line.ask({ type: "cancel_job", job }).catch(complain);
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
