// Shows one item, and fetches it again when the edge says that it changed.

import { connect } from "/_tidegate/client.js";

const ITEM = "/api/items/42";
const MAX_SHOWN = 10;

const byId = (id) => document.getElementById(id);
const money = new Intl.NumberFormat(undefined, { style: "currency", currency: "EUR" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

let shown = { version: 0 };
let turns = 0;

// `fetchItem` of an event asks for an answer that is not older than that event.
async function show(fetchItem, why) {
  const card = byId("item");
  const turn = ++turns;
  card.setAttribute("aria-busy", "true");
  try {
    const response = await fetchItem(ITEM);
    if (!response.ok) throw new Error(`the edge answered ${response.status}`);
    const item = await response.json();
    // A slow answer may come after one that was asked for later.
    if (turn !== turns) return;
    byId("item-name").textContent = item.name;
    byId("item-price").textContent = money.format(item.price_cents / 100);
    byId("item-version").textContent = item.version;
    byId("item-rendered").textContent = clock.format(new Date(item.rendered_at));
    byId("item-status").textContent = response.headers.get("Cache-Status") ?? "nothing";
    byId("message").textContent = why(item);
    if (item.version !== shown.version && shown.version !== 0) flash(card);
    shown = item;
  } catch (error) {
    if (turn === turns) byId("message").textContent = `Not fetched: ${error.message}.`;
  } finally {
    if (turn === turns) card.removeAttribute("aria-busy");
  }
}

function flash(element) {
  element.classList.remove("flash");
  // Reading the layout lets the same animation start again.
  void element.offsetWidth;
  element.classList.add("flash");
}

function heard(text) {
  const line = document.createElement("li");
  line.textContent = `${clock.format(new Date())}: ${text}`;
  byId("events").prepend(line);
  while (byId("events").children.length > MAX_SHOWN) byId("events").lastElementChild.remove();
}

byId("reload").addEventListener("click", () => {
  show(fetch, (item) => `The edge answered with version ${item.version}.`);
});

byId("change").addEventListener("click", async () => {
  // Not a POST to the item's own URL: a cache drops what lies there by itself then.
  const response = await fetch(`${ITEM}/changes`, { method: "POST" });
  if (!response.ok) {
    byId("message").textContent = `Not changed: the origin answered ${response.status}.`;
    return;
  }
  const { version } = await response.json();
  byId("message").textContent =
    `The origin has version ${version} now, and nobody has told the edges. Fetch again: they still have their copy.`;
});

connect({
  interests: ["item:42", "items"],
  onConnected: () => {
    byId("connection").textContent = "open";
  },
  onInvalidate: ({ tags, mode, fetch }) => {
    heard(`invalidated (${mode}): ${tags.join(", ")}`);
    show(fetch, (item) => `Heard that it changed; this is version ${item.version}.`);
  },
  onReset: ({ reason, fetch }) => {
    heard(`something was missed (${reason})`);
    show(fetch, (item) => `Fetched again to be sure; this is version ${item.version}.`);
  },
});

show(fetch, () => "");
