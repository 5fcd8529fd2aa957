/** The page: joins the line to the server, the outbox and the views. The server's side is chat.py. */
import { announce, byId, listen } from "./dom.js";
import { Jobs } from "./jobs.js";
import { Log } from "./log.js";
import { Outbox } from "./outbox.js";
import { People } from "./people.js";
import { Realtime } from "./realtime.js";
import { renew, session, signIn, signOut } from "./session.js";

const NAME = document.title; // of the app
const ENDED = "Your session has ended. Please sign in again.";
const TYPING = 3000; // ms between two signs of typing

const complain = (detail) => (byId("error-text").textContent = detail);
const showTitle = (count) => (document.title = `${count ? `(${count}) ` : ""}#${name} · ${NAME}`);

// ---- coming and going

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
// A provider's token is not this page's to renew.
const line = new Realtime(url, { fatalCodes: [4401, 4403], renew: by === "name" ? () => renew(me) : null });
const room = line.join(`room.${name}`, { history: 50 });
const outbox = new Outbox(({ id, text }) => line.ask({ type: "say", group: room.name, text }, { id }), outboxChanged);
const [log, people, jobs, text] = [new Log(), new People(me), new Jobs(line), byId("text")];
let greeted = false; // by the server, on the connection that is or was the last
let [unread, typedAt] = [0, 0];

/** For a fresh page, of which nothing of this user's remains. With a reason it asks to sign in again. */
function leave(reason) {
  line.close();
  // What nobody received returns to the composer, where its author finds it.
  text.value = [...outbox.entries.map((entry) => entry.text), text.value].filter(Boolean).join("\n");
  outbox.entries = [];
  history.replaceState({ reason, unsent: text.value }, "");
  location.reload();
}

/** A browser does not say why a socket was refused; the session may have ended. */
async function checkSession() {
  if ((await session()).status === 401) leave(ENDED);
}

// ---- what the server says

listen(line, {
  state({ state }) {
    if (state === "waiting" && !greeted) checkSession();
    greeted = false;
    // Only a hint, as a server on this machine needs no network: so we go on trying.
    const broken = navigator.onLine ? "Reconnecting" : "Offline, trying again";
    const word = { connecting: "Connecting…", open: "Online" }[state] ?? broken;
    byId("connection").dataset.state = state;
    if (state !== "connecting") byId("connection").classList.toggle("broken", state === "waiting");
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
    const isNews = ({ type, user, id }) => type === "said" && !log.has(user, id) && !outbox.has(id);
    const news = missed.filter(isNews).length;
    if (returning && !complete) log.notice("You may have missed messages.", "line bad");
    else if (returning && news) log.notice(`Caught up, ${news} message${news > 1 ? "s" : ""}`, "line");
    for (const event of missed) events[event.type]?.(event);
    people.update({ members, count });
    outbox.joined(complete);
    setTimeout(() => (byId("scroller").ariaLive = "polite"), 1000); // nobody wants 50 messages read out
  },
  event: (event) => events[event.type]?.(event),
  refused: ({ message }) => complain(message),
});

const events = {
  said(message) {
    const { user, id } = message;
    const mine = user.id === me.id;
    if (mine) outbox.remove(id);
    else if (document.hidden && !log.has(user, id)) {
      log.markUnread(true);
      showTitle(++unread);
    }
    people.stopsTyping(user.id);
    log.add(message, mine);
  },
  typing: ({ user }) => user.id !== me.id && people.types(user),
  presence: (change) => people.update(change),
};

// ---- what the user does

byId("composer").onsubmit = (event) => {
  event.preventDefault();
  const said = text.value.trim();
  if (!said) return;
  if (!outbox.add(said)) return complain("Too many messages wait for the connection. Yours stays here until then.");
  text.value = "";
  typedAt = 0;
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

byId("ask").onsubmit = async (event) => {
  event.preventDefault();
  const kind = event.submitter.value;
  const prompt = kind === "answer" ? byId("prompt").value : undefined;
  byId("job-error").textContent = await jobs.start(kind, prompt).then(() => "", ({ message }) => message);
  if (prompt && !byId("job-error").textContent) event.target.reset();
};

byId("sign-out").onclick = async () => {
  const { status, detail } = await signOut();
  if (status === 204) leave("");
  else complain(detail);
};

byId("retry").onclick = thenWrite(() => line.retryNow());
byId("dismiss").onclick = thenWrite(() => complain(""));

document.onvisibilitychange = () => {
  if (document.hidden) log.markUnread(false);
  else showTitle((unread = 0));
};

window.onbeforeunload = (event) => {
  if (outbox.entries.length) event.preventDefault(); // the browser asks before messages are lost
};

function outboxChanged(entry) {
  if (entry.state === "doubtful") announce("A message of yours may not have arrived.");
  if (entry.state === "refused") announce(`Not delivered. ${entry.detail}`);
  log.showPending(entry, thenWrite(() => outbox.again(entry)), thenWrite(() => outbox.remove(entry.id)));
}

/** For a button that goes away: the focus returns to the composer. */
function thenWrite(act) {
  return () => {
    act();
    text.focus();
  };
}

showTitle(0);
text.value = unsent;
text.focus();
line.connect();
