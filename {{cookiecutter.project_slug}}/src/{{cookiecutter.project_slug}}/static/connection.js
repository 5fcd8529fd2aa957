/** The state of the connection: a word, a countdown for the eye, a button for the impatient. */
import { byId } from "./dom.js";

export class ConnectionView {
  #ticker = null;

  constructor(onRetry) {
    byId("retry").addEventListener("click", () => {
      byId("text").focus(); // the button goes away
      onRetry();
    });
  }

  /**
   * shown: "connecting", "online" or "reconnecting".
   * retryAt: when the next attempt is due, in ms since the epoch; null while one is under way.
   */
  show(shown, retryAt = null) {
    clearInterval(this.#ticker);
    byId("connection").dataset.state = shown;
    byId("retry").hidden = retryAt === null;
    this.#say(word(shown));
    this.#count(retryAt);
    if (retryAt !== null) this.#ticker = setInterval(() => this.#count(retryAt), 250);
  }

  // Only a change of the word reaches a screen reader: a countdown read aloud would drown the rest.
  #say(text) {
    const state = byId("state");
    if (state.textContent !== text) state.textContent = text;
  }

  #count(retryAt) {
    const seconds = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
    byId("countdown").textContent = seconds > 0 ? `in ${seconds} s` : "";
  }
}

function word(shown) {
  if (shown === "online") return "Online";
  if (shown === "connecting") return "Connecting…";
  // Only a hint, as a server on this machine needs no network: so we go on trying.
  return navigator.onLine ? "Reconnecting" : "Offline, trying again";
}
