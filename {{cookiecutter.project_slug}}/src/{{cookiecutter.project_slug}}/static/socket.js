/**
 * A WebSocket that speaks JSON and comes back by itself. No DOM, no chat: copy this file wherever
 * you need one.
 *
 * The server must greet: a connection counts as open from its first frame on, not from the
 * handshake. A server that accepts and closes at once (one that is shutting down, say) would
 * otherwise be asked again at full speed.
 *
 * Events (CustomEvent, payload in `detail`):
 *   state    {state, retryAt}  state: "closed" | "connecting" | "open" | "waiting";
 *                              retryAt: ms since the epoch while waiting, else null
 *   message  the decoded frame
 *   refused  {code, reason}    closed with one of `fatalCodes`: there is no further attempt
 */
export class ReconnectingSocket extends EventTarget {
  #url;
  #options;
  #socket = null;
  #state = "closed";
  #failures = 0;
  #timer = null; // the one thing we wait for: a greeting, a reply, or the next attempt
  #listening = null;

  /**
   * All times in milliseconds.
   * minDelay, maxDelay: bounds of the pause before an attempt.
   * openTimeout: how long an attempt may take until the first frame.
   * replyTimeout: silence after a frame that wants a reply, from which on the line counts as dead;
   * a browser may not notice that for minutes.
   */
  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = {
      minDelay: 500,
      maxDelay: 15_000,
      openTimeout: 10_000,
      replyTimeout: 20_000,
      fatalCodes: [4000],
      ...options,
    };
  }

  get state() {
    return this.#state;
  }

  connect() {
    if (this.#state !== "closed") return;
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    globalThis.addEventListener?.("online", () => this.retryNow(), { signal });
    globalThis.document?.addEventListener(
      "visibilitychange",
      () => {
        if (document.visibilityState === "visible") this.retryNow();
      },
      { signal },
    );
    this.#attempt();
  }

  /** Skips the pause before the next attempt; does nothing in any other state. */
  retryNow() {
    if (this.#state === "waiting") this.#attempt();
  }

  /**
   * Hands one frame to the browser. False when there is no open connection: the frame was neither
   * sent nor kept.
   * wantsReply: the server answers such a frame soon, so that silence means a dead line.
   */
  send(frame, { wantsReply = false } = {}) {
    if (this.#state !== "open" || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    if (wantsReply) this.#timer ??= setTimeout(() => this.#lost(), this.#options.replyTimeout);
    return true;
  }

  close() {
    this.#listening?.abort();
    this.#drop();
    this.#failures = 0;
    this.#enter("closed");
  }

  #attempt() {
    this.#drop();
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(), this.#options.openTimeout);
    // A socket that was replaced may still report; it no longer speaks for us.
    socket.onmessage = (event) => socket === this.#socket && this.#received(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event);
    this.#enter("connecting");
  }

  #received(data) {
    this.#stopTimer();
    this.#failures = 0;
    if (this.#state === "connecting") this.#enter("open");
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      console.warn("Ignored a frame that is not JSON");
      return;
    }
    this.dispatchEvent(new CustomEvent("message", { detail: frame }));
  }

  #closed({ code, reason }) {
    if (!this.#options.fatalCodes.includes(code)) return this.#lost();
    this.close();
    this.dispatchEvent(new CustomEvent("refused", { detail: { code, reason } }));
  }

  #lost() {
    this.#drop();
    // Random over the whole span: after a restart all clients must not arrive in one instant.
    const { minDelay, maxDelay } = this.#options;
    const ceiling = Math.min(maxDelay, minDelay * 2 ** ++this.#failures);
    const delay = minDelay + Math.random() * (ceiling - minDelay);
    this.#timer = setTimeout(() => this.#attempt(), delay);
    this.#enter("waiting", Date.now() + delay);
  }

  #drop() {
    this.#stopTimer();
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #stopTimer() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #enter(state, retryAt = null) {
    this.#state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, retryAt } }));
  }
}
