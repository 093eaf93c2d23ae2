// Run with `node --test services/edge/assets/`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "./client.js";

const ENDPOINT = "http://shop.example/_tidegate/events";

function setUp(options = {}) {
  const sources = [];
  class FakeEventSource {
    static CLOSED = 2;
    readyState = 1;
    handlers = {};
    constructor(url) {
      this.url = new URL(url);
      sources.push(this);
    }
    addEventListener(type, handler) {
      this.handlers[type] = handler;
    }
    tell(type, data, lastEventId = "") {
      this.handlers[type]({ data: JSON.stringify(data), lastEventId });
    }
    fail() {
      this.readyState = 2;
      this.onerror();
    }
    close() {
      this.readyState = 2;
    }
  }
  const requests = [];
  const client = connect({
    url: ENDPOINT,
    EventSource: FakeEventSource,
    fetch: async (request) => requests.push(request),
    ...options,
  });
  return { client, sources, requests };
}

const change = (revision, more) => ({ tags: ["item:1"], revision, mode: "hard", spread_ms: 0, ...more });

test("interests are asked for, encoded", () => {
  const { sources } = setUp({ interests: ["item:*", "a+b"] });
  assert.deepEqual(sources[0].url.searchParams.getAll("interest"), ["item:*", "a+b"]);
});

test("an event is told once, whatever brings it again", () => {
  const told = [];
  const { sources } = setUp({ onInvalidate: (e) => told.push(e.tags), on: { price: (e) => told.push(e.data) } });
  sources[0].tell("invalidate", change("c1"), "c1");
  sources[0].tell("invalidate", change("c1"), "c1");
  sources[0].tell("price", { data: "7", revision: "c2" }, "c2");
  sources[0].tell("price", { data: "7", revision: "c2" }, "c2");
  assert.deepEqual(told, [["item:1"], "7"]);
});

test("a refetch says how new the answer must be, to its own origin alone", () => {
  const { client, sources, requests } = setUp({
    onInvalidate: ({ fetch }) => {
      fetch("http://shop.example/items");
      fetch("http://other.example/items");
    },
  });
  sources[0].tell("invalidate", change("c1", { trace: "00-a-b-01" }), "c1");
  client.fetch("http://shop.example/later");
  const sent = requests.map(({ headers }) => [headers.get("tidegate-min-revision"), headers.get("traceparent")]);
  assert.deepEqual(sent, [["c1", "00-a-b-01"], [null, null], ["c1", null]]);
});

test("refetches are spread", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  t.mock.method(Math, "random", () => 0.5);
  const told = [];
  const { sources } = setUp({ onInvalidate: (e) => told.push(e.revision) });
  sources[0].tell("invalidate", change("c1", { spread_ms: 1_000 }), "c1");
  t.mock.timers.tick(499);
  assert.deepEqual(told, []);
  t.mock.timers.tick(1);
  assert.deepEqual(told, ["c1"]);
});

test("a drain and a refusal lead to a new attempt from the last id", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  t.mock.method(Math, "random", () => 0.5);
  const { sources } = setUp();
  sources[0].tell("heartbeat", {}, "c7");
  sources[0].tell("reconnect", { spread_ms: 2_000 }, "c7");
  t.mock.timers.tick(1_000);
  assert.equal(sources.length, 2);
  assert.equal(sources[1].url.searchParams.get("last_event_id"), "c7");
  for (const wait of [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]) {
    const count = sources.length;
    sources.at(-1).fail();
    t.mock.timers.tick(wait - 1);
    assert.equal(sources.length, count);
    t.mock.timers.tick(1);
    assert.equal(sources.length, count + 1);
  }
});

test("nothing is told after close", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const told = [];
  const { client, sources } = setUp({ onInvalidate: () => told.push("late"), onReset: () => told.push("reset") });
  sources[0].tell("invalidate", change("c1", { spread_ms: 1_000 }), "c1");
  client.close();
  t.mock.timers.tick(1_000);
  sources[0].tell("reset", { reason: "below-floor", revision: "c2" }, "c2");
  assert.deepEqual(told, []);
});

test("a handler that fails is reported and stops nothing", async (t) => {
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  const told = [];
  const { sources } = setUp({
    onInvalidate: async () => { throw new Error("later"); },
    onPreload: () => { throw new Error("at once"); },
    on: { price: () => told.push("heard") },
  });
  sources[0].tell("invalidate", change("c1"), "c1");
  sources[0].tell("preload", { urls: [], revision: "c2" }, "c2");
  sources[0].tell("price", { data: "", revision: "c3" }, "c3");
  await new Promise(setImmediate);
  assert.deepEqual(reported, ["at once", "later"]);
  assert.deepEqual(told, ["heard"]);
  delete globalThis.reportError;
});

test("a handler for a type of Tidegate's own is refused", () => {
  assert.throws(() => setUp({ on: { reset() {} } }), /on\.reset: not an event type of your own/);
});
