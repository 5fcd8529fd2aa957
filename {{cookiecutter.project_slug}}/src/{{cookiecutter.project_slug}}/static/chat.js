/** The page: joins the socket, the outbox and the views. The server's side is chat.py. */
import { ConnectionView } from "./connection.js";
import { announce, bdi, byId } from "./dom.js";
import { Jobs } from "./jobs.js";
import { newId } from "./ids.js";
import { forgetJoined, JoinForm } from "./join.js";
import { Log } from "./log.js";
import { Outbox } from "./outbox.js";
import { ReconnectingSocket } from "./socket.js";

const MAX_TEXT = 2000;
const NAME = document.title; // of the app

const log = new Log();
const jobs = new Jobs();
const connection = new ConnectionView(() => socket.retryNow());
const outbox = new Outbox(({ id, text }) =>
  socket.send({ type: "message", id, text }, { wantsReply: true }),
);
const joinForm = new JoinForm(join);
let socket = null;
let room = "";
let me = "";
const mine = new Set(); // the ids that the server gave to this page's connections
let welcomed = false; // in this conversation, by any connection
let unread = 0;

// ---- coming and going

function join(wantedName, wantedRoom) {
  [me, room, welcomed] = [wantedName, wantedRoom, false];
  log.clear();
  jobs.clear();
  complain("");
  joinForm.hide();
  byId("chat").hidden = false;
  byId("room-title").textContent = `#${room}`;
  byId("own-name").textContent = me;
  showTitle();
  const url = new URL(`ws/chat/${encodeURIComponent(room)}`, document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = new URLSearchParams({ name: me });
  socket = new ReconnectingSocket(url);
  socket.addEventListener("state", ({ detail }) => connectionChanged(detail));
  socket.addEventListener("message", ({ detail }) => handlers[detail?.type]?.(detail));
  socket.addEventListener("refused", ({ detail }) =>
    leave(detail.reason || "This name or room was not accepted."),
  );
  socket.connect();
  byId("text").focus();
}

function leave(reason = "") {
  socket.close();
  forgetJoined();
  // What nobody received returns to the composer, where its author finds it.
  byId("text").value = [...outbox.takeAll(), byId("text").value].filter(Boolean).join("\n");
  byId("chat").hidden = true;
  document.title = NAME;
  joinForm.show(reason);
}

function connectionChanged({ state, retryAt }) {
  if (state === "connecting") connection.show(welcomed ? "reconnecting" : "connecting");
  if (state !== "waiting") return;
  connection.show("reconnecting", retryAt);
  byId("start-job").disabled = true;
  outbox.disconnected();
  jobs.disconnected();
}

// ---- frames of the server, by type

const handlers = {
  welcome(frame) {
    if (welcomed) log.addNotice("Connected again. Messages sent in between are not shown.");
    else log.addNotice("Welcome to ", bdi(`#${frame.room}`), ".");
    welcomed = true;
    me = frame.name;
    mine.add(frame.client);
    byId("own-name").textContent = me;
    byId("start-job").disabled = false;
    connection.show("online");
    outbox.connected();
  },
  message(frame) {
    // The server says who spoke; a name is only what its bearer chose.
    const own = mine.has(frame.client);
    if (own) outbox.echoed(frame.id);
    log.addMessage(frame, own ? "mine" : badge(frame));
    if (document.hidden) showTitle(++unread);
  },
  joined(frame) {
    if (!mine.has(frame.client)) log.addNotice(bdi(frame.name), " joined");
  },
  left(frame) {
    if (!mine.has(frame.client)) log.addNotice(bdi(frame.name), " left");
  },
  "job.progress": (frame) => jobs.progress(frame),
  "job.done": (frame) => jobs.done(frame),
  error(frame) {
    const { id, detail } = frame;
    if (!outbox.refused(id, detail) && !jobs.refused(id, detail)) complain(detail);
  },
};

// ---- what the user does

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("text").value.trim();
  if (!text) return;
  if (text.length > MAX_TEXT)
    return complain(`A message has at most ${MAX_TEXT} characters; this one ${text.length}.`);
  if (!outbox.add(text))
    return complain("Too many messages wait for the connection. Yours stays here until then.");
  byId("text").value = "";
  complain("");
});

byId("text").addEventListener("keydown", (event) => {
  // While an input method composes a word, Enter chooses the word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("composer").requestSubmit();
});

outbox.addEventListener("change", ({ detail: entry }) => {
  if (entry.state === "unconfirmed") announce("A message of yours may not have arrived.");
  if (entry.state === "refused") announce(`Not delivered. ${entry.detail}`);
  const then = (act) => () => {
    act(entry);
    byId("text").focus(); // the button that had the focus is gone
  };
  log.showPending(entry, [
    { label: "Send again", run: then((one) => outbox.sendAgain(one)) },
    { label: "Discard", run: then((one) => outbox.discard(one)) },
  ]);
});

byId("start-job").addEventListener("click", () => {
  const id = newId();
  if (socket.send({ type: "job.start", id })) jobs.requested(id);
});

byId("leave").addEventListener("click", () => leave());
byId("dismiss").addEventListener("click", () => {
  complain("");
  byId("text").focus();
});

byId("copy-link").hidden = !navigator.clipboard; // only there on https and on this machine
byId("copy-link").addEventListener("click", async ({ target }) => {
  await navigator.clipboard.writeText(location.href);
  target.textContent = "Copied";
  setTimeout(() => (target.textContent = "Copy link"), 2000);
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && room) showTitle((unread = 0));
});

addEventListener("beforeunload", (event) => {
  if (outbox.size > 0) event.preventDefault(); // the browser asks before messages are lost
});

/** What a reader has to know about who spoke. */
function badge({ client, name }) {
  if (client === null) return "over HTTP";
  return name === me ? "not you" : "";
}

function complain(detail) {
  byId("error-text").textContent = detail;
  byId("error").hidden = !detail;
}

function showTitle(count = 0) {
  document.title = `${count ? `(${count}) ` : ""}#${room} · ${NAME}`;
}

joinForm.show();
joinForm.resume();
