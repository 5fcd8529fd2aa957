/** The form that asks for a name and a room, and what the browser remembers of both. */
import { byId } from "./dom.js";

const ROOM = /^[A-Za-z0-9_-]{1,50}$/;

export class JoinForm {
  #form = byId("join-form");
  #name = byId("name");
  #room = byId("room");
  #error = byId("join-error");

  /** onJoin(name, room) is called with values that passed the rules. */
  constructor(onJoin) {
    this.#name.value = recall("sessionStorage", "chat.name") ?? recall("localStorage", "chat.name");
    this.#room.value = roomOfUrl() ?? recall("localStorage", "chat.room") ?? "lobby";
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const [name, room] = [this.#name.value.trim(), this.#room.value.trim()];
      if (!name) return this.complain("Please enter a name.", this.#name);
      if (!ROOM.test(room))
        return this.complain("A room is 1 to 50 letters, digits, “-” or “_”.", this.#room);
      remember(name, room);
      onJoin(name, room);
    });
  }

  /** Shows the form; focuses the first field that still needs something. */
  show(reason = "") {
    byId("join").hidden = false;
    this.complain(reason, this.#name.value ? this.#room : this.#name);
  }

  hide() {
    byId("join").hidden = true;
  }

  /** A reload in mid-conversation returns to it without asking. */
  resume() {
    const room = recall("sessionStorage", "chat.joined");
    if (room && room === roomOfUrl()) this.#form.requestSubmit();
  }

  complain(reason, field) {
    this.#error.textContent = reason;
    this.#error.hidden = !reason;
    for (const one of [this.#name, this.#room]) {
      one.setAttribute("aria-invalid", String(Boolean(reason) && one === field));
    }
    field.focus();
  }
}

/** After leaving on purpose a reload shows the form again. */
export function forgetJoined() {
  store("sessionStorage", "chat.joined", "");
}

function remember(name, room) {
  const url = new URL(location.href);
  url.searchParams.set("room", room);
  history.replaceState(null, "", url);
  store("localStorage", "chat.name", name);
  store("localStorage", "chat.room", room);
  // Two tabs may have two names: a reload keeps the one of its tab.
  store("sessionStorage", "chat.name", name);
  store("sessionStorage", "chat.joined", room);
}

// Where storage is blocked even touching it throws; the page then only asks again next time.

function store(area, key, value) {
  try {
    globalThis[area].setItem(key, value);
  } catch {
    return;
  }
}

function recall(area, key) {
  try {
    return globalThis[area].getItem(key);
  } catch {
    return null;
  }
}

function roomOfUrl() {
  return new URLSearchParams(location.search).get("room");
}
