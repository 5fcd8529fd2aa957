/** The page: joins the line to the server, the outbox and the views. The server's side is chat.py. */
import { announce, bdi, byId } from "./dom.js";
import { Jobs } from "./jobs.js";
import { Log } from "./log.js";
import { Outbox } from "./outbox.js";
import { People } from "./people.js";
import { Realtime } from "./realtime.js";
import { renew, session, signIn, signOut } from "./session.js";

const NAME = document.title; // of the app
const ENDED = "Your session has ended. Please sign in again.";
const TYPING = 3000; // ms between two signs of typing

const [log, people, jobs] = [new Log(), new People(), new Jobs()];
const outbox = new Outbox(({ id, text }) => line.ask({ type: "say", group: group.name, text }, { id }));
const text = byId("text");
let line, group, me;
let greeted = false; // by the server, on the connection that is or was the last
let [unread, typedAt] = [0, 0];

// ---- coming and going

async function start(reason = "") {
  const { user, sign_in, detail, status } = await session();
  enter(user ?? (await signIn(sign_in ?? "name", status === 401 ? reason : reason || detail)));
}

function enter(user) {
  const room = byId("room").value;
  history.replaceState(null, "", `?${new URLSearchParams({ room })}`);
  byId("chat").hidden = false;
  byId("room-title").textContent = `#${room}`;
  introduce(user);
  showTitle();
  const url = new URL("ws/chat", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  line = new Realtime(url, { fatalCodes: [4401, 4403], renew: () => renew(me) });
  listen(line, { state, frame, refused: ({ reason }) => leave(reason || ENDED), unrenewed: checkSession });
  group = line.join(`room.${room}`, { history: 50 });
  const event = (detail) => events[detail.type]?.(detail);
  listen(group, { joined, event, refused: ({ message }) => leave(message) });
  jobs.follow(line);
  line.connect();
  text.focus();
}

function leave(reason = "") {
  if (byId("chat").hidden) return;
  line.close();
  // What nobody received returns to the composer, where its author finds it.
  text.value = [...outbox.entries.map((entry) => entry.text), text.value].filter(Boolean).join("\n");
  for (const entry of outbox.entries) outbox.remove(entry);
  log.clear();
  byId("chat").hidden = true;
  document.title = NAME;
  start(reason);
}

/** A browser does not say why a socket was refused; the session may have ended. */
async function checkSession() {
  if ((await session()).status === 401) leave(ENDED);
}

// ---- what the server says

function state({ state, retryAt }) {
  if (state === "connecting") greeted = false;
  if (state === "waiting" && !greeted) checkSession();
  const words = { connecting: "Connecting…", open: "Online" };
  // Only a hint, as a server on this machine needs no network: so we go on trying.
  const word = words[state] ?? (navigator.onLine ? "Reconnecting" : "Offline, trying again");
  byId("connection").dataset.state = state;
  byId("retry").hidden = retryAt === null;
  if (byId("state").textContent !== word) byId("state").textContent = word;
}

function frame({ type, user, detail }) {
  if (type === "error") complain(detail);
  if (type !== "welcome") return;
  greeted = true;
  if (user.id === me.id) introduce(user);
  else leave("Somebody else has signed in, in another tab.");
}

function joined({ events: missed, complete, returning, members, member_count }) {
  const news = missed.filter((event) => event.type === "said" && !log.has(event) && !outbox.find(event.id));
  if (returning && !complete) log.notice("You may have missed messages.", "line bad");
  else if (returning && news.length) log.notice(`Caught up, ${news.length} message${news.length > 1 ? "s" : ""}`, "line");
  for (const event of missed) events[event.type]?.(event);
  people.are(me, members, member_count);
  outbox.joined(complete);
}

const events = {
  said(message) {
    const mine = message.user.id === me.id;
    if (mine) outbox.remove(outbox.find(message.id));
    else people.stopsTyping(message.user.id);
    if (!mine && document.hidden && !log.has(message)) {
      log.markUnread();
      showTitle(++unread);
    }
    log.add(message, mine);
  },
  typing: ({ user }) => user.id !== me.id && people.types(user),
  presence: (change) => people.changed(me, change),
};

// ---- what the user does

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const said = text.value.trim();
  if (!said) return;
  if (!outbox.add(said)) return complain("Too many messages wait for the connection. Yours stays here until then.");
  text.value = "";
  typedAt = 0;
  log.unmark();
  complain("");
});

text.addEventListener("keydown", (event) => {
  // While an input method composes a word, Enter chooses the word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("composer").requestSubmit();
});

text.addEventListener("input", () => {
  if (Date.now() - typedAt < TYPING || !text.value.trim()) return;
  if (line.tell({ type: "typing", group: group.name })) typedAt = Date.now();
});

outbox.addEventListener("change", ({ detail: entry }) => {
  if (entry.state === "doubtful") announce("A message of yours may not have arrived.");
  if (entry.state === "refused") announce(`Not delivered. ${entry.detail}`);
  const then = (act) => () => {
    act();
    text.focus(); // the button that had the focus is gone
  };
  log.showPending(entry, then(() => outbox.again(entry)), then(() => outbox.remove(entry)));
});

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const prompt = byId("prompt").value.trim();
  const kind = event.submitter?.value === "steps" ? "steps" : "answer";
  if (kind === "answer" && !prompt) return byId("prompt").focus();
  byId("job-error").textContent = "";
  jobs.start(kind, kind === "answer" ? prompt : undefined).then(
    () => kind === "answer" && (byId("prompt").value = ""),
    ({ message }) => (byId("job-error").textContent = message),
  );
});

byId("sign-out").addEventListener("click", async () => {
  const { status, detail } = await signOut();
  if (status === 204 || status === 401) leave();
  else complain(detail);
});

for (const [id, act] of [["retry", () => line.retryNow()], ["dismiss", () => complain("")]])
  byId(id).addEventListener("click", () => {
    text.focus(); // the button goes away
    act();
  });

document.addEventListener("visibilitychange", () => {
  if (document.hidden) log.unmark();
  else if (group) showTitle((unread = 0));
});

addEventListener("beforeunload", (event) => {
  if (outbox.entries.length > 0) event.preventDefault(); // the browser asks before messages are lost
});

// ---- small things

function listen(target, listeners) {
  for (const [type, listener] of Object.entries(listeners))
    target.addEventListener(type, ({ detail }) => listener(detail));
}

function introduce(user) {
  me = user;
  byId("own-name").replaceChildren(bdi(user.name));
}

function complain(detail) {
  byId("error-text").textContent = detail;
  byId("error").hidden = !detail;
}

function showTitle(count = 0) {
  document.title = `${count ? `(${count}) ` : ""}${byId("room-title").textContent} · ${NAME}`;
}

byId("room").value = new URLSearchParams(location.search).get("room") || "lobby";
start();
