// The table: a current row, selected rows, and the same keys as in the focus view.

import { announce, toast } from "./announce.js";
import { decide, may_decide, STATE, undo_decision } from "./deciding.js";
import { on_keys } from "./keys.js";
import { outbox } from "./outbox.js";
import { fetch_markup, post } from "./requests.js";

const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-bulk]"));
const view = form?.dataset.view ?? "";
const rows = form ? /** @type {HTMLTableRowElement[]} */ ([...form.querySelectorAll("tr[data-output]")]) : [];
const all = /** @type {HTMLInputElement} */ (form?.querySelector("[data-all]"));
const box = row => /** @type {HTMLInputElement} */ (row.querySelector('input[name="output"]'));
let current = -1, anchor = -1;
const covered_cells = new Map();

function go_to_row(place) {
  if (!rows.length) return;
  rows[current]?.removeAttribute("data-current");
  current = Math.max(0, Math.min(place, rows.length - 1));
  const row = rows[current];
  row.setAttribute("data-current", "");
  row.querySelector("[data-row-link]").focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function choose(up_to) {
  if (current < 0) go_to_row(0);
  const checked = up_to && anchor >= 0 ? true : !box(rows[current]).checked;
  const [first, last] = up_to && anchor >= 0 ? [anchor, current].sort((a, b) => a - b) : [current, current];
  for (let place = first; place <= last; place++) box(rows[place]).checked = checked;
  anchor = current;
  count();
}

function chosen() { return rows.filter(row => box(row).checked).length; }

function count() {
  for (const row of rows) row.classList.toggle("chosen", box(row).checked || all.checked);
  form.querySelector("[data-chosen]").textContent = all.checked ? "All" : chosen();
}

function decide_selected(action) {
  const button = form.querySelector(`button[value="${action}"]`);
  if (!button) return toast(`Everything in this view is ${STATE[action]}.`);
  if (chosen() || all.checked) return form.requestSubmit(button);
  if (current < 0) return toast("Go to a row with j, or select some.");
  const row = rows[current], seen = row.dataset.seen;
  if (action === "approve" && seen === "covered") return toast("This text is covered: reveal it with r and read it before you approve it.");
  if (!may_decide(row, action)) return;
  decide({ output: Number(row.dataset.output), version: row.dataset.version, action, view, seen });
  mark(row, "sending", `${STATE[action]} …`);
  go_to_row(current + 1);
}

function mark(row, state, words = state) {
  row.dataset.state = state;
  row.querySelector("[data-row-state]").textContent = words;
}

async function undo() {
  const output = await undo_decision(undefined, view);
  if (output === undefined) return;
  const place = rows.findIndex(row => Number(row.dataset.output) === output);
  if (place >= 0) go_to_row(place);
  toast(`Undone: output ${output} is open again.`);
}

async function reveal() {
  const row = rows[current];
  if (!row || row.dataset.covered !== "yes") return;
  const cell = row.querySelector("[data-excerpt]");
  if (covered_cells.has(row)) {
    cell.innerHTML = covered_cells.get(row);
    covered_cells.delete(row);
    return announce("Covered again.");
  }
  const answer = await fetch_markup(`/outputs/${row.dataset.output}/card?reveal=1`);
  const text = answer.ok && new DOMParser().parseFromString(answer.text, "text/html").querySelector("[data-text]");
  if (!text) return toast("The text cannot be shown right now.");
  covered_cells.set(row, cell.innerHTML);
  cell.replaceChildren(...text.childNodes);
  row.dataset.seen = "revealed";
  post("/claims", { looked: row.dataset.output, seen: "revealed" });
  announce("Revealed.");
}

if (form) {
  form.addEventListener("change", count);
  form.addEventListener("click", event => {
    const at = /** @type {Element} */ (event.target), row = at.closest("tr[data-output]");
    if (row) { rows[current]?.removeAttribute("data-current"); current = rows.indexOf(row); row.setAttribute("data-current", ""); }
    if (at.closest("[data-reveal]") && !event.ctrlKey && !event.metaKey) { event.preventDefault(); reveal(); }
  });
  form.addEventListener("submit", event => {
    if (chosen() || all.checked) return;
    event.preventDefault();
    toast("Nothing is selected: tick rows, press m on a row, or select everything that matches.");
  });
  outbox.addEventListener("stored", event => {
    const { entry, body } = event.detail, row = rows.find(element => Number(element.dataset.output) === entry.output);
    if (!row) return;
    row.dataset.version = body.version;
    box(row).value = `${entry.output}.${body.version}`;
    row.dataset.decidedBy = "";
    mark(row, body.state, body.state === "pending" ? "to review" : body.state);
  });
  outbox.addEventListener("refused", event => {
    const row = rows.find(element => Number(element.dataset.output) === event.detail.entry.output);
    if (!row) return;
    row.dataset.decidedBy = event.detail.body?.by ?? "";  // the next key asks
    mark(row, "refused", "not stored");
  });
  on_keys({
    a: () => decide_selected("approve"), x: () => decide_selected("reject"), u: undo, r: reveal,
    R: () => form.querySelector("[data-reveal-page]")?.click(),
    j: () => go_to_row(current + 1), k: () => go_to_row(current - 1), space: () => go_to_row(current + 1),
    m: () => choose(false), M: () => choose(true), "*": () => { all.checked = !all.checked; count(); },
    e: () => { if (rows[current]) location.assign(`${rows[current].querySelector("[data-row-link]").href}#edit`); },
  });
  count();
  post("/claims", { listed: form.elements.listed.value, revealed: form.elements.revealed.value });
}
document.documentElement.dataset.ready = "bulk";
