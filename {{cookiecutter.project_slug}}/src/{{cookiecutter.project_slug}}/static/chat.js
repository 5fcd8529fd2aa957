/** The page: joins the line to the server, the outbox and the views. The server's side is chat.py. */
import { announce, byId } from "./dom.js";
import { Jobs } from "./jobs.js";
import { Log } from "./log.js";
import { Outbox } from "./outbox.js";
import { People } from "./people.js";
import { Realtime } from "./realtime.js";
import { renew, session, signIn, signOut } from "./session.js";

const NAME = document.title; // of the app
const ENDED = "Your session has ended. Please sign in again.";
const TYPING = 3000; // ms between two signs of typing

const [log, people, jobs, text] = [new Log(), new People(), new Jobs(), byId("text")];
const outbox = new Outbox(({ id, text }) => line.ask({ type: "say", group: room.name, text }, { id }));
let line, room, me;
let greeted = false; // by the server, on the connection that is or was the last
let [unread, typedAt] = [0, 0];

// ---- coming and going

async function start(reason = "") {
  const { user, sign_in = "name", detail, status } = await session();
  if (status !== 200 && status !== 401) reason ||= detail;
  me = user ?? (await signIn(sign_in, reason));
  const name = byId("room").value;
  history.replaceState(null, "", `?${new URLSearchParams({ room: name })}`);
  byId("chat").hidden = false;
  byId("room-title").textContent = `#${name}`;
  byId("own-name").textContent = me.name;
  showTitle();
  const url = new URL("ws/chat", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  const renewal = sign_in === "name" ? () => renew(me) : null; // a provider's page has the token, not this one
  line = new Realtime(url, { fatalCodes: [4401, 4403], renew: renewal });
  listen(line, { state, frame, refused: ({ reason }) => leave(reason || ENDED), unrenewed: checkSession });
  room = line.join(`room.${name}`, { history: 50 });
  const event = (detail) => events[detail.type]?.(detail);
  listen(room, { joined, event, refused: ({ message }) => leave(message) });
  jobs.follow(line);
  line.connect();
  text.focus();
}

function leave(reason) {
  if (byId("chat").hidden) return;
  line.close();
  // What nobody received returns to the composer, where its author finds it.
  text.value = [...outbox.entries.map((entry) => entry.text), text.value].filter(Boolean).join("\n");
  outbox.entries.forEach((entry) => outbox.remove(entry));
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
  if (state === "waiting" && !greeted) checkSession();
  greeted = false;
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
  if (user.id !== me.id) leave("Somebody else has signed in, in another tab.");
}

function joined({ events: missed, complete, returning, members, member_count: count }) {
  const own = (id) => outbox.entries.some((entry) => entry.id === id);
  const news = missed.filter((event) => event.type === "said" && !log.has(event) && !own(event.id)).length;
  if (returning && !complete) log.notice("You may have missed messages.", "line bad");
  else if (returning && news) log.notice(`Caught up, ${news} message${news > 1 ? "s" : ""}`, "line");
  for (const event of missed) events[event.type]?.(event);
  people.update(me, { members, count });
  outbox.joined(complete);
}

const events = {
  said(message) {
    const mine = message.user.id === me.id;
    for (const entry of outbox.entries) if (mine && entry.id === message.id) outbox.remove(entry);
    if (!mine && document.hidden && !log.has(message)) {
      log.markUnread(true);
      showTitle(++unread);
    }
    people.stopsTyping(message.user.id);
    log.add(message, mine);
  },
  typing: ({ user }) => user.id !== me.id && people.types(user),
  presence: (change) => people.update(me, change),
};

// ---- what the user does

listen(byId("composer"), {
  submit(event) {
    event.preventDefault();
    const said = text.value.trim();
    if (!said) return;
    if (!outbox.add(said)) return complain("Too many messages wait for the connection. Yours stays here until then.");
    text.value = "";
    typedAt = 0;
    log.markUnread(false);
    complain("");
  },
});

listen(text, {
  keydown(event) {
    // While an input method composes a word, Enter chooses the word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId("composer").requestSubmit();
  },
  input() {
    if (Date.now() - typedAt < TYPING || !text.value.trim()) return;
    if (line.tell({ type: "typing", group: room.name })) typedAt = Date.now();
  },
});

listen(outbox, {
  change(entry) {
    if (entry.state === "doubtful") announce("A message of yours may not have arrived.");
    if (entry.state === "refused") announce(`Not delivered. ${entry.detail}`);
    const then = (act) => () => {
      act();
      text.focus(); // the button that had the focus is gone
    };
    log.showPending(entry, then(() => outbox.again(entry)), then(() => outbox.remove(entry)));
  },
});

listen(byId("ask"), {
  async submit(event) {
    event.preventDefault();
    const { value: prompt } = byId("prompt");
    const answers = event.submitter.value === "answer";
    const started = answers ? jobs.start("answer", prompt) : jobs.start("steps");
    byId("job-error").textContent = await started.then(() => "", ({ message }) => message);
    if (answers && !byId("job-error").textContent) byId("prompt").value = "";
  },
});

const clicks = {
  retry: () => line.retryNow(text.focus()), // the button goes away
  dismiss: () => complain(text.focus()),
  async "sign-out"() {
    const { status, detail } = await signOut();
    if (status === 204 || status === 401) leave("");
    else complain(detail);
  },
};
for (const [id, click] of Object.entries(clicks)) listen(byId(id), { click });

listen(document, {
  visibilitychange() {
    if (document.hidden) log.markUnread(false);
    else if (room) showTitle((unread = 0));
  },
});

listen(window, {
  beforeunload: (event) => outbox.entries.length && event.preventDefault(), // the browser asks before messages are lost
});

// ---- small things

/** Listeners get the detail of our own events, and the browser's events themselves. */
function listen(target, listeners) {
  for (const [type, listener] of Object.entries(listeners))
    target.addEventListener(type, (event) => listener(event instanceof CustomEvent ? event.detail : event));
}

function complain(detail = "") {
  byId("error-text").textContent = detail;
  byId("error").hidden = !detail;
}

function showTitle(count = 0) {
  document.title = `${count ? `(${count}) ` : ""}${byId("room-title").textContent} · ${NAME}`;
}

byId("room").value = new URLSearchParams(location.search).get("room") || "lobby";
start();
