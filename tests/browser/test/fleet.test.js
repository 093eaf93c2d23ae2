import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { openPage, startChromium } from "../lib/chromium.js";
import { PATIENCE, startControlPlane, startEdge, tidegate } from "../lib/programs.js";
import { listen } from "../lib/listener.js";

const run = promisify(execFile);
const BACKEND = fileURLToPath(new URL("../../python/invalidate.py", import.meta.url));
const EVENTS = "/_tidegate/events";
const limits = { timeout: 60_000 };

let version = "old";
let origin;
let control;
let edges = [];
let browser;

before(async () => {
  origin = createServer((request, response) => {
    const fields = { "Cache-Control": "max-age=3600", "Cache-Tag": "item:42" };
    if (request.url === "/item") return response.writeHead(200, fields).end(version);
    response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>t</title>");
  });
  await new Promise((resolve) => origin.listen(0, "127.0.0.1", resolve));
  [control, browser] = await Promise.all([startControlPlane(), startChromium()]);
  edges = await Promise.all(["a", "b"].map((name) => startEdge(control.grpc, name)));
  const file = join(control.folder, "site.json");
  const url = `http://127.0.0.1:${origin.address().port}`;
  const site = { hosts: ["*"], origin: { upstreams: [{ url }] }, events: { public_tags: ["*"] } };
  writeFileSync(file, JSON.stringify(site));
  await tidegate(control.grpc, "--site", "shop", "site", "apply", file);
  await Promise.all(edges.map((edge) => served(edge, "old", "hit")));
}, limits);
after(async () => {
  await browser?.close();
  for (const service of [...edges, control]) service?.stop();
  origin?.close();
});

/** Asks an edge until it answers with this text in this way. */
async function served(edge, text, way) {
  const until = Date.now() + PATIENCE;
  for (;;) {
    const response = await fetch(`${edge.edge}/item`);
    const body = await response.text();
    const status = response.headers.get("cache-status") ?? "";
    if (body === text && status.includes(way)) return;
    assert.ok(Date.now() < until, `${response.status} ${status}: ${body}`);
  }
}

/** Calls Invalidate from Python and waits for all edges. */
async function invalidate(tag) {
  const python = process.env.TIDEGATE_TEST_PYTHON ?? "python3";
  const address = new URL(control.grpc).host;
  const done = await run(python, [BACKEND, address, "shop", tag], { timeout: PATIENCE });
  return JSON.parse(done.stdout);
}

test("what a backend invalidates is gone from both edges, and the browser hears it", limits, async (t) => {
  const page = await openPage(browser);
  t.after(() => page.close());
  await page.goto(edges[0].edge);
  const events = await listen(page, EVENTS);
  version = "new";
  const done = await invalidate("item:42");
  assert.equal(done.status, "COMPLETION_STATUS_COMPLETE");
  const applied = "EDGE_OUTCOME_KIND_APPLIED";
  assert.deepEqual(done.edges, { a: applied, b: applied });
  for (const edge of edges) {
    assert.equal(await (await fetch(`${edge.edge}/item`)).text(), "new");
  }
  const heard = await events.next("invalidate", "item:42");
  await events.close();

  const missed = await invalidate("missed:1");
  assert.equal(missed.status, "COMPLETION_STATUS_COMPLETE");
  const other = await openPage(browser);
  t.after(() => other.close());
  await other.goto(edges[1].edge);
  const resumed = await listen(other, `${EVENTS}?last_event_id=${heard.id}`);
  await resumed.next("invalidate", "missed:1");
  await invalidate("after:1");
  await resumed.next("invalidate", "after:1");
  const told = (await resumed.heard()).filter(({ type }) => type !== "connected");
  assert.deepEqual(told.map(({ data }) => JSON.parse(data)), [["missed:1"], ["after:1"]]);
});
