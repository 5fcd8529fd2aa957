/**
 * One WebSocket for a whole page: it comes back by itself, asks and gets answers, and each group that
 * was joined goes on where it broke off. No DOM, no dependency, no build: copy this file, and its types,
 * `realtime.d.ts`, wherever you need it.
 *
 * On the wire, JSON objects with a `type`:
 *   welcome                                   the server's first frame: from then on the line is open;
 *                                             `expires_in` are the seconds that the session lasts
 *   id in a frame of ours, reply_to in its    a question and its answer; `type: "error"` refuses, with a
 *   answer                                    `code` for programs and a `detail` for people
 *   join {group, since, history} -> joined    `since` is the last position that we have, "" for none that
 *   {complete, position, events}              the server knows, absent when we are new
 *   leave {group}, ping                       -> any answer
 *   group, and mostly position, in a frame    an event of that group
 *   incomplete {group}                        events may be missing: the group, or all, is joined again
 *   renew {...} -> {expires_in}               what `renew()` gave, and how long the session lasts now
 *
 * Invariants
 * - Of all timers and sockets one of each is alive: what was replaced no longer speaks for us.
 * - Each question is settled once: by its answer, its deadline, or the end of its connection.
 * - A position moves on only by what was handed to the page, so that nothing is skipped.
 */

/** Why a question has no answer. `code`: the server's, or "timeout", "offline" or "lost". */
export class Refused extends Error {
  constructor(code, detail, errors = []) {
    super(detail);
    this.name = "Refused";
    this.code = code;
    this.errors = errors;
  }
}

/** Random over the whole span: after a restart all clients must not arrive in one instant. */
function backOff(failures, { minDelay, maxDelay }) {
  const ceiling = Math.min(maxDelay, minDelay * 2 ** failures);
  return minDelay + Math.random() * (ceiling - minDelay);
}

/** What `setTimeout` takes at most, some 24 days. */
const LONGEST = 2 ** 31 - 1;

/** Described in realtime.d.ts. */
const TIMES = { minDelay: 500, maxDelay: 15_000, openTimeout: 10_000, askTimeout: 10_000 };
const DEFAULTS = { ...TIMES, fatalCodes: [], renew: null };

export class Realtime extends EventTarget {
  state = "closed"; // to be read only: "connecting", "open" or "waiting"
  #url;
  #options;
  #socket = null;
  #failures = 0;
  #timer = null; // what we wait for: a welcome, or the next attempt
  #renewal = null;
  #listening = null;
  #questions = new Map(); // id -> {resolve, reject, timer}
  #number = 0;
  #groups = new Map(); // name -> Group

  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = { ...DEFAULTS, WebSocket: globalThis.WebSocket, ...options };
  }

  connect() {
    if (this.state !== "closed") return;
    const { signal } = (this.#listening = new AbortController());
    for (const type of ["online", "offline"]) globalThis.addEventListener?.(type, () => this.#check(), { signal });
    const seen = ({ target }) => target.hidden || this.#check();
    globalThis.document?.addEventListener("visibilitychange", seen, { signal });
    this.#attempt();
  }

  /** Skips the pause before the next attempt; does nothing in any other state. */
  retryNow() {
    if (this.state === "waiting") this.#attempt();
  }

  close() {
    this.#listening?.abort();
    this.#drop();
    this.#failures = 0;
    this.#enter("closed");
  }

  /** Hands a frame to the browser. False while there is no open line: it was neither sent nor kept. */
  tell(frame) {
    if (this.state !== "open" || this.#socket.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /**
   * The answer to a frame; `Refused` if there is none. An answer that does not come within the time
   * means a dead line, which a browser may not notice for minutes: it is made anew. `id` may be the
   * caller's own, of letters, digits, - and _.
   */
  ask(frame, { id = `q${++this.#number}`, timeout = this.#options.askTimeout } = {}) {
    return new Promise((resolve, reject) => {
      if (!this.tell({ ...frame, id })) return reject(new Refused("offline", "Not connected"));
      const socket = this.#socket;
      const timer = setTimeout(() => {
        this.#settle(id).reject(new Refused("timeout", "No answer in time"));
        if (socket === this.#socket) this.#lost();
      }, timeout);
      this.#questions.set(id, { resolve, reject, timer });
    });
  }

  /** The group of this name, joined from now on whenever there is a line. */
  join(name, { history = 0, since = null } = {}) {
    let group = this.#groups.get(name);
    if (!group) {
      group = new Group(name, this, history, since, () => this.#groups.delete(name));
      this.#groups.set(name, group);
      group.connected(this.state === "open");
    }
    return group;
  }

  /** Asks the server for anything, so that a dead line is noticed, or comes back at once. */
  #check() {
    if (this.state === "waiting") this.#attempt();
    else if (this.state === "open") this.ask({ type: "ping" }, { timeout: 3000 }).catch(() => {});
  }

  #attempt() {
    this.#drop();
    const socket = new this.#options.WebSocket(this.#url);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(), this.#options.openTimeout);
    socket.onmessage = ({ data }) => socket === this.#socket && this.#received(data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event);
    this.#enter("connecting");
  }

  #received(data) {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return console.warn("Ignored a frame that is not JSON");
    }
    if (frame.reply_to !== undefined) return this.#answered(frame);
    if (this.state === "connecting") {
      if (frame.type !== "welcome") return;
      clearTimeout(this.#timer);
      this.#failures = 0;
      this.#renewIn(frame.expires_in);
      this.#enter("open");
      for (const group of this.#groups.values()) group.connected(true);
    }
    const group = this.#groups.get(frame.group);
    if (frame.type === "incomplete")
      for (const one of group ? [group] : this.#groups.values()) one.connected(true);
    else if (group) group.received(frame);
    else this.#emit("frame", frame);
  }

  #answered(frame) {
    const question = this.#settle(frame.reply_to);
    if (frame.type !== "error") question?.resolve(frame);
    else question?.reject(new Refused(frame.code, frame.detail, frame.errors));
  }

  #settle(id) {
    const question = this.#questions.get(id);
    this.#questions.delete(id);
    clearTimeout(question?.timer);
    return question;
  }

  #renewIn(seconds) {
    clearTimeout(this.#renewal);
    if (!this.#options.renew || !(seconds > 0)) return;
    // Half of the time is left for it, five minutes at most, so that it can fail, and a page be hidden: browsers
    // wake that once a minute.
    const delay = Math.max(seconds - Math.min(seconds / 2, 300), 1) * 1000;
    this.#renewal = setTimeout(() => this.#renew(), Math.min(delay, LONGEST));
  }

  async #renew(failures = 1) {
    const socket = this.#socket;
    try {
      const answer = await this.ask({ type: "renew", ...(await this.#options.renew()) });
      this.#renewIn(answer.expires_in);
    } catch (error) {
      if (socket !== this.#socket) return; // the next connection is a new session
      this.#emit("unrenewed", error);
      this.#renewal = setTimeout(() => this.#renew(failures + 1), backOff(failures, this.#options));
    }
  }

  #closed({ code, reason }) {
    if (!this.#options.fatalCodes.includes(code)) return this.#lost();
    this.close();
    this.#emit("refused", { code, reason });
  }

  #lost() {
    this.#drop();
    const delay = backOff(++this.#failures, this.#options);
    this.#timer = setTimeout(() => this.#attempt(), delay);
    this.#enter("waiting", Date.now() + delay);
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#renewal);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    for (const group of this.#groups.values()) group.connected(false);
    for (const id of [...this.#questions.keys()])
      this.#settle(id).reject(new Refused("lost", "The connection ended before an answer came"));
  }

  #enter(state, retryAt = null) {
    this.state = state;
    this.#emit("state", { state, retryAt });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Made by `Realtime.join`. Events: `joined`, `event`, `refused`, each with its `detail`. */
class Group extends EventTarget {
  #line;
  #history;
  #forget;
  #visit = null; // of one connection; another one makes its answers worthless
  #failures = 0;
  #timer = null;

  constructor(name, line, history, since, forget) {
    super();
    this.name = name;
    this.position = since;
    this.joined = false;
    this.#line = line;
    this.#history = history;
    this.#forget = forget;
  }

  leave() {
    this.connected(false);
    this.#forget();
    this.#line.ask({ type: "leave", group: this.name }).catch(() => {});
  }

  /** For `Realtime`. */
  connected(is) {
    clearTimeout(this.#timer);
    this.joined = false;
    this.#visit = is ? {} : null;
    if (is) this.#join(this.#visit);
  }

  /** For `Realtime`. */
  received(frame) {
    if (!this.joined) return; // of a visit that is over
    this.position = frame.position ?? this.position; // a layer may keep none
    this.#emit("event", frame);
  }

  async #join(visit) {
    const since = this.position === null ? {} : { since: this.position };
    let answer;
    try {
      const frame = { type: "join", group: this.name, history: this.#history, ...since };
      answer = await this.#line.ask(frame);
    } catch (error) {
      if (visit === this.#visit) this.#refused(visit, error);
      return;
    }
    if (visit !== this.#visit) return;
    this.#failures = 0;
    this.joined = true;
    const returning = this.position !== null;
    this.position = answer.position ?? ""; // of a layer that keeps none
    this.#emit("joined", { ...answer, returning });
  }

  #refused(visit, error) {
    if (["unavailable", "busy", "too_fast"].includes(error.code)) {
      const delay = backOff(++this.#failures, { minDelay: 500, maxDelay: 15_000 });
      this.#timer = setTimeout(() => this.#join(visit), delay);
    } else if (!["timeout", "lost", "offline"].includes(error.code)) {
      this.#forget();
      this.#emit("refused", error);
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
