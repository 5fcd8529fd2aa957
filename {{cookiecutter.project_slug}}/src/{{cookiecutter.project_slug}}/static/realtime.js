/**
 * One WebSocket for a whole page: it comes back by itself, asks and gets answers, and each group that was joined
 * goes on where it broke off. No DOM, no dependency, no build. Types, and what goes over the wire: `realtime.d.ts`.
 *
 * Invariants
 * - Of all timers and sockets one of each is alive: what was replaced no longer speaks for us.
 * - Each question is settled once: by its answer, its deadline, or the end of its connection.
 * - A position moves on only by what was handed to the page, so that nothing is skipped.
 */

const DEFAULTS = { minDelay: 500, maxDelay: 15_000, openTimeout: 10_000, askTimeout: 10_000, fatalCodes: [] };

/** Why a question has no answer. `code`: the server's, or "timeout", "offline" or "lost". */
export class Refused extends Error {
  constructor(code, detail, errors = []) {
    super(detail);
    Object.assign(this, { name: "Refused", code, errors });
  }
}

/** Random over the whole span: after a restart all clients must not arrive in one instant. */
const backOff = (failures, { minDelay, maxDelay }) =>
  minDelay + Math.random() * (Math.min(maxDelay, minDelay * 2 ** failures) - minDelay);

const emit = (target, type, detail) => target.dispatchEvent(new CustomEvent(type, { detail }));

export class Realtime extends EventTarget {
  state = "closed"; // to be read only: "connecting", "open" or "waiting"
  #options;
  #socket = null;
  #failures = 0;
  #timer = null; // what we wait for: a welcome, or the next attempt
  #renewal = null;
  #questions = new Map(); // id -> {resolve, reject, timer}
  #number = 0;
  #groups = new Map(); // name -> Group

  constructor(url, options = {}) {
    super();
    this.#options = { ...DEFAULTS, WebSocket: globalThis.WebSocket, ...options, url };
    const look = ({ target }) => target.hidden || this.#look();
    for (const type of ["online", "offline", "visibilitychange"]) globalThis.addEventListener?.(type, look);
  }

  connect() {
    if (this.state === "closed") this.#attempt();
  }

  retryNow() {
    if (this.state === "waiting") this.#attempt();
  }

  close() {
    this.#drop();
    this.#enter("closed");
  }

  tell(frame) {
    if (this.state !== "open" || this.#socket.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** No answer in time means a dead line, which a browser may not notice for minutes: it is made anew. */
  ask(frame, { id = `q${++this.#number}`, timeout = this.#options.askTimeout } = {}) {
    return new Promise((resolve, reject) => {
      if (!this.tell({ ...frame, id })) return reject(new Refused("offline", "Not connected"));
      const timer = setTimeout(() => {
        this.#answered({ reply_to: id, type: "error", code: "timeout", detail: "No answer in time" });
        this.#lost();
      }, timeout);
      this.#questions.set(id, { resolve, reject, timer });
    });
  }

  join(name, { history = 0, since = null } = {}) {
    if (!this.#groups.has(name)) {
      const forget = () => this.#groups.delete(name);
      const group = new Group({ name, position: since, history, line: this, forget });
      this.#groups.set(name, group);
      group.connected(this.state === "open");
    }
    return this.#groups.get(name);
  }

  /** Asks the server for anything, so that a dead line is noticed, or comes back at once. */
  #look() {
    if (this.state === "open") this.ask({ type: "ping" }, { timeout: 3000 }).catch(() => {});
    else this.retryNow();
  }

  #attempt() {
    this.#drop();
    const socket = new this.#options.WebSocket(this.#options.url);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(), this.#options.openTimeout);
    socket.onmessage = ({ data }) => socket === this.#socket && this.#received(JSON.parse(data));
    socket.onclose = ({ code, reason }) => {
      if (socket !== this.#socket) return;
      if (!this.#options.fatalCodes.includes(code)) return this.#lost();
      this.close();
      emit(this, "refused", { code, reason });
    };
    this.#enter("connecting");
  }

  #received(frame) {
    if (frame.reply_to !== undefined) return this.#answered(frame);
    if (this.state === "connecting") {
      if (frame.type !== "welcome") return;
      clearTimeout(this.#timer);
      this.#failures = 0;
      this.#renewIn(frame.expires_in);
      this.#enter("open");
      for (const one of this.#groups.values()) one.connected(true);
    }
    const group = this.#groups.get(frame.group);
    if (frame.type === "incomplete") for (const one of group ? [group] : this.#groups.values()) one.connected(true);
    else if (group) group.received(frame);
    else emit(this, "frame", frame);
  }

  #answered(frame) {
    const { resolve, reject, timer } = this.#questions.get(frame.reply_to) ?? {};
    this.#questions.delete(frame.reply_to);
    clearTimeout(timer);
    if (frame.type !== "error") resolve?.(frame);
    else reject?.(new Refused(frame.code, frame.detail, frame.errors));
  }

  #renewIn(seconds) {
    clearTimeout(this.#renewal);
    if (!this.#options.renew || !(seconds > 0)) return;
    // Five minutes before the end, or at half of a shorter time: browsers wake a hidden page once a minute. A
    // renewal that fails is tried again at half of what is left.
    const delay = Math.max(seconds - 300, seconds / 2, 1);
    const ms = Math.min(delay * 1000, 2 ** 31 - 1); // the most that `setTimeout` takes
    this.#renewal = setTimeout(() => this.#renew(seconds - delay), ms);
  }

  async #renew(rest) {
    const socket = this.#socket;
    try {
      const answer = await this.ask({ type: "renew", ...(await this.#options.renew()) });
      this.#renewIn(answer.expires_in);
    } catch (error) {
      if (socket !== this.#socket) return; // the next connection is a new session
      emit(this, "unrenewed", error);
      this.#renewIn(rest);
    }
  }

  #lost() {
    this.#drop();
    const delay = backOff(++this.#failures, this.#options);
    this.#timer = setTimeout(() => this.#attempt(), delay);
    this.#enter("waiting", Date.now() + delay);
  }

  #drop() {
    for (const timer of [this.#timer, this.#renewal]) clearTimeout(timer);
    this.#socket?.close();
    this.#socket = null;
    for (const group of this.#groups.values()) group.connected(false);
    const lost = { type: "error", code: "lost", detail: "The connection ended before an answer came" };
    for (const reply_to of this.#questions.keys()) this.#answered({ ...lost, reply_to });
  }

  #enter(state, retryAt = null) {
    this.state = state;
    emit(this, "state", { state, retryAt });
  }
}

/** Made by `Realtime.join`. Events: `joined`, `event`, `refused`, each with its `detail`. */
class Group extends EventTarget {
  joined = false;
  #visit = null; // of one connection; another one makes its answers worthless
  #timer = null;

  constructor(fields) {
    super();
    Object.assign(this, fields);
  }

  leave() {
    this.connected(false);
    this.forget();
    this.line.ask({ type: "leave", group: this.name }).catch(() => {});
  }

  /** For `Realtime`, as is the next. What comes before the joining is of a visit that is over. */
  connected(is) {
    clearTimeout(this.#timer);
    this.joined = false;
    this.#visit = is ? {} : null;
    if (is) this.#join(this.#visit);
  }

  received(frame) {
    if (!this.joined) return;
    this.position = frame.position ?? this.position; // a layer may keep none
    emit(this, "event", frame);
  }

  async #join(visit, failures = 1) {
    const returning = this.position !== null;
    const since = returning ? { since: this.position } : {};
    try {
      const answer = await this.line.ask({ type: "join", group: this.name, history: this.history, ...since });
      if (visit !== this.#visit) return;
      this.joined = true;
      this.position = answer.position ?? ""; // of a layer that keeps none
      emit(this, "joined", { ...answer, returning });
    } catch (error) {
      if (visit !== this.#visit || ["timeout", "lost", "offline"].includes(error.code)) return;
      if (["unavailable", "busy", "too_fast"].includes(error.code)) {
        this.#timer = setTimeout(() => this.#join(visit, failures + 1), backOff(failures, DEFAULTS));
      } else {
        this.forget();
        emit(this, "refused", error);
      }
    }
  }
}
