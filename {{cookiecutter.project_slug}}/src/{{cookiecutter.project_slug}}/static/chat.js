/** The page: joins the line to the server, the outbox and the views. The server's side is chat.py. */
import { byId, listen } from "./dom.js";
import { followJobs } from "./jobs.js";
import * as log from "./log.js";
import { Outbox } from "./outbox.js";
import * as people from "./people.js";
import { Realtime } from "./realtime.js";
import { renew, session, signIn, signOut } from "./session.js";

const NAME = document.title; // of the app
const ENDED = "Your session has ended. Please sign in again.";
const TYPING = 3000; // ms between two signs of typing
const text = byId("text");
let greeted = false; // by the server, on the connection that is or was the last
let [unread, typedAt] = [0, 0];

const complain = (detail) => (byId("error-text").textContent = detail);
const showTitle = () => (document.title = `${unread ? `(${unread}) ` : ""}#${name} · ${NAME}`);

byId("room").value = new URLSearchParams(location.search).get("room") || "lobby";
const { reason = "", unsent = "" } = history.state ?? {}; // of who left, see below
const { user, sign_in: by = "name", detail, status } = await session();
const me = (!reason && user) || (await signIn(by, reason || (status === 401 ? "" : detail)));
const name = byId("room").value;
history.replaceState(null, "", `?${new URLSearchParams({ room: name })}`);
byId("room-title").textContent = `#${name}`;
byId("own-name").textContent = me.name;
byId("chat").hidden = false;

const url = new URL("ws/chat", document.baseURI.replace(/^http/, "ws"));
const line = new Realtime(url, { fatalCodes: [4401, 4403], renew: () => renew(by, me) });
const room = line.join(`room.${name}`, { history: 50 });
const outbox = new Outbox(line, room);
const seen = `seen ${me.id} ${name}`; // when the last message was said that was read here
let seenBefore = Number(localStorage[seen] ?? Infinity); // this page was opened; until the room is there

/** For a fresh page, of which nothing of this user's remains. With a reason it asks to sign in again. */
function leave(reason) {
  line.close();
  // What nobody received returns to the composer, where its author finds it.
  text.value = [...outbox.entries.splice(0).map((entry) => entry.text), text.value].filter(Boolean).join("\n");
  history.replaceState({ reason, unsent: text.value }, "");
  location.reload();
}

/** A browser does not say why a socket was refused; the session may have ended. */
const checkSession = async () => (await session()).status === 401 && leave(ENDED);

listen(line, {
  state({ state }) {
    if (state === "connecting") return; // nothing blinks with each attempt
    if (state === "waiting" && !greeted) checkSession();
    greeted = false;
    byId("connection").dataset.state = state;
    // Only a hint, as a server on this machine needs no network: so we go on trying.
    const word = state === "open" ? "Online" : navigator.onLine ? "Reconnecting" : "Offline, trying again";
    if (byId("state").textContent !== word) byId("state").textContent = word;
  },
  frame({ type, user, detail }) {
    if (type === "error") complain(detail);
    if (type === "welcome") greeted = true;
    if (type === "welcome" && user.id !== me.id) leave(""); // somebody else has signed in, in another tab
  },
  refused: ({ reason }) => leave(reason || ENDED),
  unrenewed: checkSession,
});

listen(room, {
  joined({ events: missed, complete, returning, members, member_count: count }) {
    const news = missed.filter((one) => one.type === "said" && !log.has(one) && one.user.id !== me.id).length;
    if (returning && !complete) log.notice("You may have missed messages.", "line bad");
    else if (returning && news) log.notice(`Caught up, ${news} message${news > 1 ? "s" : ""}`, "line");
    for (const event of missed) events[event.type]?.(event);
    seenBefore = Infinity;
    people.update(me, { members, count });
    outbox.joined(complete);
    complain(""); // of an outage that is over
    setTimeout(() => (byId("scroller").ariaLive = "polite"), 1000); // nobody wants 50 messages read out
  },
  event: (event) => events[event.type]?.(event),
  refused: ({ message }) => complain(message),
});

const events = {
  said(message) {
    const mine = message.user.id === me.id;
    if (mine) outbox.remove(message.id);
    else if (!log.has(message) && (document.hidden || message.at > seenBefore)) log.markUnread(true);
    if (document.hidden && !mine && !log.has(message)) showTitle(++unread);
    people.types(message.user, false);
    log.add(message, mine);
    if (!document.hidden) localStorage[seen] = log.newestAt;
  },
  typing: ({ user }) => user.id !== me.id && people.types(user),
  presence: (change) => people.update(me, change),
};

byId("composer").onsubmit = (event) => {
  event.preventDefault();
  const said = text.value.trim();
  if (!said) return;
  if (!outbox.add(said)) return complain("Too many messages wait for the connection. Yours stays here until then.");
  text.value = "";
  log.markUnread(false);
  complain("");
};

text.onkeydown = (event) => {
  // While an input method composes a word, Enter chooses the word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("composer").requestSubmit();
};

text.oninput = () => {
  if (Date.now() - typedAt < TYPING || !text.value.trim()) return;
  if (room.joined && line.tell({ type: "typing", group: room.name })) typedAt = Date.now();
};

byId("sign-out").onclick = async () => {
  const { status, detail } = await signOut();
  status === 204 ? leave("") : complain(detail);
};
byId("retry").onclick = () => line.retryNow();
byId("dismiss").onclick = () => complain("");
byId("chat").onclick = ({ target }) => {
  // A button that goes away, or will, leaves the focus to the composer.
  if (target.matches("#retry, #to-bottom") || !target.checkVisibility()) text.focus();
};

document.onvisibilitychange = () => {
  if (document.hidden) return log.markUnread(false);
  showTitle((unread = 0));
  localStorage[seen] = log.newestAt;
};

window.onbeforeunload = (event) => {
  if (outbox.entries.length) event.preventDefault(); // the browser asks before messages are lost
};

followJobs(line);
showTitle();
text.value = unsent;
text.focus();
line.connect();
