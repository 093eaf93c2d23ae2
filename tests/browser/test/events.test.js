import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openPage, startChromium } from "../lib/chromium.js";
import { startDev } from "../lib/programs.js";
import { startLink } from "../lib/link.js";
import { listen } from "../lib/listener.js";

const EVENTS = "/_tidegate/events";
const limits = { timeout: 60_000 };

let dev;
let browser;
before(async () => {
  [dev, browser] = await Promise.all([startDev(), startChromium()]);
}, limits);
after(async () => {
  await browser?.close();
  dev?.stop();
});

/** A tab on the sample site. */
async function openTab(t, url = dev.edge) {
  const page = await openPage(browser);
  t.after(() => page.close());
  const response = await page.goto(url);
  assert.equal(response.status(), 200);
  return page;
}

test("the sample page opens without a complaint", limits, async (t) => {
  const page = await openTab(t);
  assert.notEqual(await page.title(), "");
  assert.notEqual((await page.locator("body").innerText()).trim(), "");
  assert.deepEqual(page.complaints, []);
});

test("an open tab hears an invalidation by its tag", limits, async (t) => {
  const page = await openTab(t);
  const events = await listen(page, EVENTS);
  await dev.tidegate("invalidate", "heard:1", "--reason", "a test");
  const event = await events.next("invalidate", "heard:1");
  assert.deepEqual(JSON.parse(event.data), ["heard:1"]);
  assert.notEqual(event.id, "");
});

test("an interest keeps other tags away", limits, async (t) => {
  const page = await openTab(t);
  const events = await listen(page, `${EVENTS}?interest=wanted:*`);
  await dev.tidegate("invalidate", "unwanted:1");
  await dev.tidegate("invalidate", "wanted:1");
  await events.next("invalidate", "wanted:1");
  const heard = (await events.heard()).filter(({ type }) => type === "invalidate");
  assert.deepEqual(heard.map(({ data }) => JSON.parse(data)), [["wanted:1"]]);
});

test("hints and events of other types arrive", limits, async (t) => {
  const page = await openTab(t);
  const events = await listen(page, EVENTS, ["price"]);
  await dev.tidegate("preload", "/index.html?from=hint");
  const hint = await events.next("preload", "from=hint");
  assert.deepEqual(JSON.parse(hint.data), ["/index.html?from=hint"]);
  await dev.tidegate("publish-event", "price", '{"item":1}');
  assert.equal((await events.next("price")).data, '{"item":1}');
});

test("a tab that was away is told what it missed, once", limits, async (t) => {
  const page = await openTab(t);
  const first = await listen(page, EVENTS);
  await dev.tidegate("invalidate", "before:1");
  const { id } = await first.next("invalidate", "before:1");
  await first.close();
  await dev.tidegate("invalidate", "missed:1");
  await dev.tidegate("invalidate", "missed:2");
  const path = `${EVENTS}?last_event_id=${encodeURIComponent(id)}`;
  const second = await listen(page, path);
  await second.next("invalidate", "missed:2");
  const heard = (await second.heard()).filter(({ type }) => type === "invalidate");
  const tags = heard.flatMap(({ data }) => JSON.parse(data));
  assert.deepEqual(tags.sort(), ["missed:1", "missed:2"]);
});

test("a browser that reconnects by itself misses nothing", limits, async (t) => {
  const link = await startLink(dev.edge);
  t.after(() => link.close());
  const page = await openTab(t, link.url);
  const events = await listen(page, EVENTS);
  await dev.tidegate("invalidate", "online:1");
  await events.next("invalidate", "online:1");
  link.cut();
  await dev.tidegate("invalidate", "offline:1");
  link.mend();
  await events.next("invalidate", "offline:1");
  const heard = await events.heard();
  assert.equal(heard.filter(({ type }) => type === "connected").length, 2);
  const online = heard.filter(({ type, data }) => type === "invalidate" && data.includes("online:1"));
  assert.equal(online.length, 1, "what was heard before the cut came again");
});
