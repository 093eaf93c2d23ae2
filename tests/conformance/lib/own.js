// Tidegate's own tests of caches: an origin and a client in this process, and what a test
// is written with. The tests themselves are in `own/`.
import { createServer, request } from "node:http";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Milliseconds; only a test that fails waits this long. */
const PATIENCE = 15_000;

/** Their row in the table. */
const LIST = "Tidegate's own";

/** Tests at once. Most of them wait. */
const AT_ONCE = 50;

/** Every test of `own/`: `id`, `suite`, `kind`, `name`, `rfc` and `run`. */
export async function ownTests({ suites, ids }) {
  const folder = new URL("../own/", import.meta.url);
  const files = readdirSync(fileURLToPath(folder)).sort();
  const modules = await Promise.all(files.map((file) => import(new URL(file, folder))));
  const tests = modules.flatMap(({ default: { suite, tests } }) =>
    tests.map((test) => ({ ...test, suite })),
  );
  return tests
    .filter((test) => suites.length === 0 || suites.includes(test.suite))
    .filter((test) => ids.length === 0 || ids.includes(test.id));
}

/** A test: what a cache must do, should do, or may. */
const test = (kind) => (id, rfc, name, run) => ({ id, kind, rfc, name, run });
export const required = test("required");
export const optimal = test("optimal");
export const check = test("check");

/** Resolves after so many seconds. */
export const seconds = (count) => new Promise((resolve) => setTimeout(resolve, count * 1000));

/** An HTTP date, so many seconds from now. */
export const date = (fromNow) => new Date(Date.now() + fromNow * 1000).toUTCString();

/**
 * The origin of these tests. `site(id)` gives a test a URL path of its own; what the
 * origin answers there is up to the test.
 */
export class Origin {
  #sites = new Map();
  #server = createServer((asked, answer) => {
    const [, , name] = asked.url.split(/[/?]/);
    const site = this.#sites.get(name);
    asked.resume();
    asked.once("end", () => {
      if (site) site.answer(asked, answer);
      else answer.writeHead(404).end();
    });
  });

  static async start() {
    const origin = new Origin();
    await new Promise((resolve) => origin.#server.listen(0, "127.0.0.1", resolve));
    return origin;
  }

  get port() {
    return this.#server.address().port;
  }

  stop() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  site(name, cache, show) {
    const site = new Site(name, cache, show);
    this.#sites.set(name, site);
    return site;
  }
}

/**
 * What one test talks to: a path behind the cache. `origin` is what the origin answers
 * there from now on: `status` (200), `fields` (name to value or values), `body` ("answer"
 * and its number), `interim` (a list of a status and fields), `breaksOff` (without an
 * answer), `after` and `afterInterim` (seconds before it says anything, and between).
 */
class Site {
  /** What the origin was asked: `method`, `url` and `fields`. */
  seen = [];
  origin = {};

  constructor(name, cache, show) {
    this.name = name;
    this.cache = cache;
    this.show = show ? (...words) => console.log(...words) : () => {};
  }

  async answer(asked, answer) {
    const number = this.seen.push({
      method: asked.method,
      url: asked.url,
      fields: asked.headers,
    });
    const { status = 200, fields = {}, body, interim = [] } = this.origin;
    const { breaksOff = false, after = 0, afterInterim = 0 } = this.origin;
    this.show(`origin was asked: ${asked.method} ${asked.url}`, asked.headers);
    if (after > 0) await seconds(after);
    this.show("origin answers:", this.origin);
    if (breaksOff) {
      asked.socket.destroy();
      return;
    }
    for (const [code, hints] of interim) writeInterim(answer.socket, code, hints);
    if (afterInterim > 0) await seconds(afterInterim);
    // A date that was asked for is sent as it is.
    answer.sendDate = !("date" in fields);
    answer.writeHead(status, { answer: number, ...fields });
    answer.end(
      asked.method === "HEAD" || status === 304 ? undefined : (body ?? `answer ${number}`),
    );
  }

  /**
   * Asks the cache. Returns `status`, `fields`, `body`, `interim`, when these began to
   * come (`interimAt`, `at`), whether the origin `wasAsked`, and `isStored`: whether it is
   * an answer that the origin gave before.
   */
  async ask({ method = "GET", fields = {}, path = "", body, origin } = {}) {
    if (origin) this.origin = origin;
    const before = this.seen.length;
    const url = `${this.cache}/own/${this.name}${path}`;
    this.show(`client asks: ${method} ${url}`, fields);
    const reply = await send(url, { method, fields, body });
    const number = Number(reply.body.match(/^answer (\d+)$/)?.[1]);
    reply.wasAsked = this.seen.length > before;
    reply.isStored = number ? number <= before : !reply.wasAsked;
    this.show("client gets:", reply);
    return reply;
  }
}

function writeInterim(socket, status, fields = {}) {
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`HTTP/1.1 ${status} Interim\r\n${lines.join("")}\r\n`);
}

function send(url, { method, fields, body }) {
  return new Promise((resolve, reject) => {
    const interim = [];
    const asking = request(url, { method, headers: fields, timeout: PATIENCE, agent: false });
    let interimAt;
    asking.on("information", ({ statusCode: status, headers: fields }) => {
      interimAt ??= Date.now();
      interim.push({ status, fields });
    });
    asking.once("timeout", () => asking.destroy(new Error("no answer in time")));
    asking.once("error", reject);
    asking.once("response", (answer) => {
      const { statusCode: status, headers } = answer;
      const at = Date.now();
      let text = "";
      answer.setEncoding("utf8");
      answer.on("data", (chunk) => (text += chunk));
      answer.once("error", reject);
      answer.once("end", () => {
        resolve({ status, fields: headers, body: text, interim, interimAt, at });
      });
    });
    asking.end(body);
  });
}

/** Runs the chosen tests against a cache; as `runPublic`. */
export async function runOwn(cache, origin, tests, { ids }) {
  const waiting = tests.map((test, index) => ({ test, index }));
  const results = [];
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { id, suite, kind, name, rfc, run } = next.test;
      const site = origin.site(`${id}-${next.index}`, cache, ids.length === 1);
      let why = "";
      try {
        await run(site);
      } catch (error) {
        why = error.message.split("\n")[0];
      }
      const verdict = why === "" ? "pass" : "fail";
      results[next.index] = { id, suite, list: LIST, kind, name: `${name} (${rfc})`, verdict, why };
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

/** What tests assert. */
export function stored(reply) {
  if (!reply.isStored) throw new Error(`not answered from what is stored (${describe(reply)})`);
}

export function asked(reply) {
  if (reply.isStored) throw new Error(`answered from what is stored (${describe(reply)})`);
}

export function equal(actual, expected, what) {
  if (actual !== expected) throw new Error(`${what} is "${actual}", not "${expected}"`);
}

function describe({ status, fields }) {
  return `${status}, cache-status: ${fields["cache-status"] ?? "none"}`;
}
