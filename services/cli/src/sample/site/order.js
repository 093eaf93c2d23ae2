// Reads the state that the edge put into the page.

const byId = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

byId("origin").textContent = location.origin;

const element = byId("tidegate-state");
if (element === null) {
  byId("order-number").textContent = "the page came without its state";
} else {
  const state = JSON.parse(element.textContent);
  byId("order-number").textContent = state.number;
  byId("order-items").textContent = state.items.join(", ");
  byId("order-rendered").textContent = clock.format(new Date(state.rendered_at));
}
