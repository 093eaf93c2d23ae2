// Listens to a site's events and helps to refetch what changed.
//
//   import { connect } from "/_tidegate/client.js";
//   const tidegate = connect({
//     interests: ["item:*"],
//     onInvalidate: async ({ tags, fetch }) => show(await fetch("/items")),
//     onReset: () => location.reload(),
//   });
//
// Types and the full description: client.d.ts.

/** Revisions that are remembered, to tell no event twice. */
const SEEN = 512;
/** Bounds of the wait before a new attempt, in milliseconds. */
const FIRST_BACKOFF = 1_000;
const MAX_BACKOFF = 30_000;
const RESERVED = new Set([
  "connected", "invalidate", "preload", "heartbeat", "reset", "reconnect", "message", "open", "error",
]);

export function connect({
  url = "/_tidegate/events",
  interests = [],
  lastEventId = "",
  onConnected,
  onInvalidate,
  onPreload,
  onReset,
  on = {},
  EventSource = globalThis.EventSource,
  fetch: fetchWith = (input, init) => globalThis.fetch(input, init),
} = {}) {
  for (const type of Object.keys(on)) {
    if (RESERVED.has(type)) {
      throw new TypeError(`on.${type}: not an event type of your own; allowed: any but ${[...RESERVED].join(", ")}`);
    }
  }
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  const endpoint = new URL(url, base);
  const seen = new Set();
  const timers = new Set();
  let source = null;
  let lastId = lastEventId;
  // The newest change that was heard of; a refetch must not be older.
  let minRevision = "";
  let spread = 0;
  let failures = 0;
  let closed = false;

  function open() {
    const target = new URL(endpoint);
    interests.forEach((interest) => target.searchParams.append("interest", interest));
    target.searchParams.set("detail", "1");
    if (lastId) target.searchParams.set("last_event_id", lastId);
    source = new EventSource(target.href);
    listen("connected", (data) => {
      failures = 0;
      spread = data.spread_ms;
      call(onConnected, data);
    });
    listen("heartbeat", () => {});
    listen("invalidate", (data) => {
      if (isKnown(data.revision)) return;
      minRevision = data.revision;
      const told = { ...data, fetch: fetchSince(data.revision, data.trace) };
      after(Math.random() * data.spread_ms, () => call(onInvalidate, told));
    });
    listen("preload", (data) => {
      if (!isKnown(data.revision)) call(onPreload, data);
    });
    listen("reset", (data) => {
      // What was heard of belongs to a history that may be gone.
      seen.clear();
      minRevision = data.revision;
      const told = { ...data, fetch: fetchSince(data.revision) };
      after(Math.random() * spread, () => call(onReset, told));
    });
    listen("reconnect", (data) => reopen(Math.random() * data.spread_ms));
    for (const [type, handler] of Object.entries(on)) {
      listen(type, (data) => {
        if (!isKnown(data.revision)) call(handler, data);
      });
    }
    // An EventSource comes back by itself after a lost connection, and gives up for
    // good after any answer but 200.
    const own = source;
    source.onerror = () => {
      if (own !== source || own.readyState !== EventSource.CLOSED) return;
      const limit = Math.min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** Math.min(failures, 16));
      failures += 1;
      reopen(Math.random() * limit);
    };
  }

  function listen(type, handler) {
    const own = source;
    source.addEventListener(type, (event) => {
      if (closed || own !== source) return;
      if (event.lastEventId) lastId = event.lastEventId;
      handler(JSON.parse(event.data));
    });
  }

  function isKnown(revision) {
    if (seen.has(revision)) return true;
    seen.add(revision);
    if (seen.size > SEEN) seen.delete(seen.values().next().value);
    return false;
  }

  function reopen(delay) {
    source.close();
    source = null;
    after(delay, open);
  }

  function after(delay, run) {
    if (!(delay >= 1)) return run();
    const timer = setTimeout(() => {
      timers.delete(timer);
      if (!closed) run();
    }, delay);
    timers.add(timer);
  }

  // A handler that fails must not keep the others from hearing.
  function call(handler, argument) {
    if (!handler) return;
    try {
      Promise.resolve(handler(argument)).catch(report);
    } catch (error) {
      report(error);
    }
  }

  function report(error) {
    (globalThis.reportError ?? console.error)(error);
  }

  // Other origins than the site's do not know the field, and would be asked by a
  // preflight whether they allow it.
  function fetchSince(revision, trace) {
    return (input, init) => {
      const request = new Request(input, init);
      if (new URL(request.url).origin === endpoint.origin) {
        if (revision) request.headers.set("tidegate-min-revision", revision);
        if (trace) request.headers.set("traceparent", trace);
      }
      return fetchWith(request);
    };
  }

  open();
  return {
    fetch: (input, init) => fetchSince(minRevision)(input, init),
    get lastEventId() {
      return lastId;
    },
    close() {
      closed = true;
      timers.forEach(clearTimeout);
      timers.clear();
      source?.close();
      source = null;
    },
  };
}
