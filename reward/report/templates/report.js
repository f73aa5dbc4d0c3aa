"use strict";
const table = document.getElementById("table");
const pairs = [...table.tBodies];
const kind = document.getElementById("kind");
const find = document.getElementById("find");
const unfold = document.getElementById("unfold");
const texts = new Map();

// Texts are only ever read here (textContent), never written or parsed.
function words(pair) {
  if (!texts.has(pair)) {
    const parts = pair.rows[1].querySelectorAll(".preview, .text, code");
    texts.set(pair, [...parts].map((part) => part.textContent).join("\n").toLowerCase());
  }
  return texts.get(pair);
}

function filter() {
  const wanted = find.value.trim().toLowerCase();
  let shown = 0;
  for (const pair of pairs) {
    const fits = !kind.value || pair.dataset.group === kind.value;
    pair.hidden = !(fits && (!wanted || words(pair).includes(wanted)));
    shown += !pair.hidden;
  }
  document.getElementById("count").textContent = `${shown} of ${pairs.length} pairs`;
}

function sort(heading) {
  const key = heading.dataset.key;
  const falling = heading.getAttribute("aria-sort") === "ascending";
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const sign = falling ? -1 : 1;
  const value = (pair) => (pair.dataset[key] === "" ? null : Number(pair.dataset[key]));
  const ordered = [...pairs].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (x - y);
  });
  table.append(...ordered);
}

for (const heading of table.tHead.rows[0].cells) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = heading.textContent;
  button.addEventListener("click", () => sort(heading));
  heading.replaceChildren(button);
}
table.tHead.rows[0].cells[0].setAttribute("aria-sort", "ascending");
kind.addEventListener("change", filter);
find.addEventListener("input", filter);
unfold.addEventListener("click", () => {
  const open = unfold.textContent === "Open all";
  for (const pair of pairs) pair.querySelector("details").open = open && !pair.hidden;
  unfold.textContent = open ? "Close all" : "Open all";
});
const tools = document.getElementById("tools");
tools.addEventListener("submit", (event) => event.preventDefault());
tools.hidden = false;
filter();
