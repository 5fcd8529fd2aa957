/** static/realtime.js by itself, under Node's test runner: a socket and a clock that the test moves. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

const { Realtime } = await import(process.env.REALTIME);

let sockets, now, timers, line, heard;

class FakeSocket {
  readyState = 0;
  sent = [];

  constructor(url) {
    this.url = url;
    sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }

  receive(frame) {
    this.readyState = 1;
    this.onmessage({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  breakOff(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose({ code, reason });
  }
}

globalThis.setTimeout = (call, delay) => {
  const timer = { at: now + delay, call };
  timers.add(timer);
  return timer;
};
globalThis.clearTimeout = (timer) => timers.delete(timer);

const settled = async () => {
  for (let i = 0; i < 20; i++) await null;
};

/** Lets time pass, timer by timer, and what waits for each go on. */
async function pass(ms) {
  const end = now + ms;
  await settled();
  for (;;) {
    const next = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
    if (!next) break;
    now = next.at;
    timers.delete(next);
    next.call();
    await settled();
  }
  now = end;
}

const latest = () => sockets.at(-1);
const asked = (type) => latest().sent.filter((frame) => frame.type === type);

function welcome(fields = {}) {
  latest().receive({ type: "welcome", ...fields });
}

async function answer(frame, fields) {
  latest().receive({ reply_to: frame.id, type: "ok", ...fields });
  await settled();
}

function listen(target, ...types) {
  for (const type of types) target.addEventListener(type, (event) => heard.push([type, event.detail]));
}

function start(options = {}) {
  line = new Realtime("ws://test/", { WebSocket: FakeSocket, ...options });
  line.connect();
  return line;
}

beforeEach(() => {
  line?.close();
  sockets = [];
  now = 0;
  timers = new Set();
  heard = [];
});

test("the line is open with the welcome, not with the handshake", () => {
  start();
  assert.equal(line.state, "connecting");
  assert.equal(line.tell({ type: "say" }), false);
  welcome();
  assert.equal(line.state, "open");
  assert.equal(line.tell({ type: "say" }), true);
  assert.deepEqual(latest().sent, [{ type: "say" }]);
});

test("a question gets the answer with its id, or is refused", async () => {
  start();
  welcome();
  const [one, two] = [line.ask({ type: "roll" }), line.ask({ type: "roll" }, { id: "mine" })];
  await answer({ id: "mine" }, { value: 2 });
  await answer(asked("roll")[0], { type: "error", code: "no_die", detail: "No.", errors: [] });
  assert.equal((await two).value, 2);
  await assert.rejects(one, { code: "no_die", message: "No." });
  await answer({ id: "nobody's" }, {});
});

test("a question without an answer means a dead line", async () => {
  start({ askTimeout: 1000 });
  welcome();
  const question = assert.rejects(line.ask({ type: "roll" }), { code: "timeout" });
  const other = assert.rejects(line.ask({ type: "roll" }, { timeout: 5000 }), { code: "lost" });
  await pass(1000);
  await Promise.all([question, other]);
  assert.equal(line.state, "waiting");
  await assert.rejects(line.ask({ type: "roll" }), { code: "offline" });
});

test("attempts come ever later, at random, and at once on demand", async () => {
  start({ minDelay: 100, maxDelay: 1000, openTimeout: 50 });
  const pauses = [];
  listen(line, "state");
  for (let i = 0; i < 8; i++) {
    latest().breakOff();
    pauses.push(heard.at(-1)[1].retryAt - Date.now());
    await pass(1000);
  }
  assert.ok(pauses.every((pause) => pause > 0 && pause <= 1000), String(pauses));
  latest().breakOff();
  const before = sockets.length;
  line.retryNow();
  assert.equal(sockets.length, before + 1);
  line.retryNow();
  assert.equal(sockets.length, before + 1);
});

test("a server that accepts and says nothing is given up", async () => {
  start({ openTimeout: 50, minDelay: 100, maxDelay: 100 });
  await pass(50);
  assert.equal(line.state, "waiting");
  await pass(100);
  assert.equal(sockets.length, 2);
  sockets[0].receive({ type: "welcome" }); // it no longer speaks for us
  assert.equal(line.state, "connecting");
});

test("a fatal code ends it", async () => {
  start({ fatalCodes: [4403] });
  listen(line, "refused");
  welcome();
  latest().breakOff(4403, "signed out");
  assert.deepEqual(heard, [["refused", { code: 4403, reason: "signed out" }]]);
  await pass(60_000);
  assert.deepEqual([line.state, sockets.length], ["closed", 1]);
});

test("a group goes on where it broke off", async () => {
  start();
  const room = line.join("room", { history: 50 });
  listen(room, "joined", "event");
  welcome();
  assert.deepEqual(asked("join"), [{ type: "join", group: "room", history: 50, id: "q1" }]);
  await answer(asked("join")[0], { complete: true, position: "p1", events: [1], members: 3 });
  latest().receive({ type: "said", group: "room", position: "p2" });
  latest().breakOff();
  assert.equal(room.joined, false);
  line.retryNow();
  welcome();
  assert.equal(asked("join")[0].since, "p2");
  await answer(asked("join")[0], { complete: false, position: "p9", events: [7, 8] });
  const [first, event, second] = heard.map(([, detail]) => detail);
  assert.deepEqual(heard.map(([type]) => type), ["joined", "event", "joined"]);
  assert.deepEqual([first.returning, first.complete, first.events], [false, true, [1]]);
  assert.equal(first.members, 3); // what else the server says is passed on
  assert.deepEqual(event, { type: "said", group: "room", position: "p2" });
  assert.deepEqual([second.returning, second.complete, second.events], [true, false, [7, 8]]);
});

test("what may be incomplete is joined again, from before the gap", async () => {
  start();
  const [room, other] = [line.join("room"), line.join("other")];
  listen(room, "event");
  welcome();
  for (const frame of asked("join")) await answer(frame, { complete: true, position: "p1", events: [] });
  latest().receive({ type: "incomplete", group: "room" });
  latest().receive({ type: "said", group: "room", position: "p7" }); // after the gap
  assert.deepEqual([room.joined, other.joined, room.position, heard], [false, true, "p1", []]);
  assert.deepEqual([asked("join")[2].group, asked("join")[2].since], ["room", "p1"]);
  await answer(asked("join")[2], { complete: true, position: "p7", events: [1, 2] });
  assert.equal(room.position, "p7");
  latest().receive({ type: "incomplete" });
  assert.deepEqual(asked("join").slice(3).map(({ group, since }) => [group, since]), [["room", "p7"], ["other", "p1"]]);
});

test("a connection that breaks before the answer moves no position", async () => {
  start();
  const room = line.join("room");
  welcome();
  const [question] = asked("join");
  latest().breakOff();
  line.retryNow();
  welcome();
  await answer(question, { complete: true, position: "p5", events: [] }); // of the connection before
  assert.equal("since" in asked("join")[0], false);
  await answer(asked("join")[0], { complete: true, position: "p1", events: [] });
  assert.equal(room.position, "p1");
});

test("a layer without positions is told that we come back", async () => {
  start();
  const room = line.join("room");
  listen(room, "event");
  welcome();
  await answer(asked("join")[0], { complete: true, position: "", events: [] });
  latest().receive({ type: "said", group: "room" });
  assert.equal(heard.length, 1);
  latest().breakOff();
  line.retryNow();
  welcome();
  assert.equal(asked("join")[0].since, "");
});

test("joining is tried again while the server is cut off, and not when it refuses", async () => {
  start();
  const room = line.join("room");
  listen(room, "refused");
  welcome();
  await answer(asked("join")[0], { type: "error", code: "unavailable", detail: "later" });
  await pass(1100);
  assert.equal(asked("join").length, 2);
  await answer(asked("join")[1], { type: "error", code: "too_fast", detail: "later" });
  await pass(2100);
  assert.equal(asked("join").length, 3);
  await answer(asked("join")[2], { type: "error", code: "refused", detail: "not you" });
  assert.equal(heard[0][1].message, "not you");
  latest().breakOff();
  line.retryNow();
  welcome();
  assert.equal(asked("join").length, 0);
});

test("a group that was left gets nothing, and is not joined again", async () => {
  start();
  const room = line.join("room");
  assert.equal(line.join("room"), room);
  listen(room, "event");
  welcome();
  await answer(asked("join")[0], { complete: true, position: "p1", events: [] });
  room.leave();
  latest().receive({ type: "said", group: "room", position: "p2" });
  assert.deepEqual([heard, asked("leave").length], [[], 1]);
  latest().breakOff();
  line.retryNow();
  welcome();
  assert.equal(asked("join").length, 0);
});

test("a session is renewed before it ends, again and again", async () => {
  let token = 0;
  start({ renew: async () => ({ token: ++token }) });
  welcome({ expires_in: 100 });
  await pass(49_000);
  assert.equal(asked("renew").length, 0);
  await pass(1_500);
  assert.equal(asked("renew")[0].token, 1);
  await answer(asked("renew")[0], { expires_in: 50 });
  await pass(25_000);
  assert.equal(asked("renew")[1].token, 2);
  await answer(asked("renew")[1], { expires_in: 36_000 });
  await pass(35_600_000); // of a long one five minutes are left
  assert.equal(asked("renew").length, 2);
  await pass(100_000);
  assert.equal(asked("renew").length, 3);
});

test("a renewal that fails is told, and tried again at half of what is left, until one succeeds", async () => {
  let away = true;
  start({
    renew: async () => {
      if (away) throw new Error("no server");
      return { token: 1 };
    },
  });
  listen(line, "unrenewed");
  welcome({ expires_in: 600 });
  await pass(300_000);
  assert.deepEqual(heard.map(([, { message }]) => message), ["no server"]);
  await pass(150_000 + 75_000 + 37_000);
  assert.equal(heard.length, 3);
  away = false;
  await pass(1_000);
  assert.equal(asked("renew").length, 1);
  await answer(asked("renew")[0], { expires_in: 600 });
  await pass(299_000);
  assert.deepEqual([asked("renew").length, heard.length], [1, 3]);
});

test("a renewal that nothing brings about is given up with the session", async () => {
  start({ renew: () => Promise.reject(new Error("no server")) });
  listen(line, "unrenewed");
  welcome({ expires_in: 36_000 });
  await pass(40_000_000);
  assert.ok(heard.length > 8 && heard.length < 14, String(heard.length));
});

test("what is no JSON is an error of nobody else's, and other frames are passed on", () => {
  start();
  listen(line, "frame");
  welcome();
  assert.throws(() => latest().receive("{"), SyntaxError); // which the browser reports
  latest().receive({ type: "notice" });
  assert.deepEqual(heard.map(([, frame]) => frame.type), ["welcome", "notice"]);
});

test("closing settles what is open, and nothing comes after it", async () => {
  start();
  welcome();
  const question = assert.rejects(line.ask({ type: "roll" }), { code: "lost" });
  line.close();
  await question;
  await pass(100_000);
  assert.deepEqual([line.state, sockets.length, timers.size], ["closed", 1, 0]);
});
