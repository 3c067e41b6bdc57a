// The table: a current row, selected rows, and the same keys as in the focus view.

import { announce, say } from "./announce.js";
import { decide, STATE, take_back } from "./deciding.js";
import { on_keys } from "./keys.js";
import { outbox } from "./outbox.js";
import { fetched } from "./talk.js";

const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-bulk]"));
const view = form?.dataset.view ?? "";
const rows = form ? /** @type {HTMLTableRowElement[]} */ ([...form.querySelectorAll("tr[data-output]")]) : [];
const all = /** @type {HTMLInputElement} */ (form?.querySelector("[data-all]"));
const box = row => /** @type {HTMLInputElement} */ (row.querySelector('input[name="output"]'));
let here = -1, anchor = -1;
const covers = new Map();

function stand(place) {
  if (!rows.length) return;
  rows[here]?.removeAttribute("data-current");
  here = Math.max(0, Math.min(place, rows.length - 1));
  const row = rows[here];
  row.setAttribute("data-current", "");
  row.querySelector("[data-row-link]").focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function choose(up_to) {
  if (here < 0) stand(0);
  const wanted = up_to && anchor >= 0 ? true : !box(rows[here]).checked;
  const [first, last] = up_to && anchor >= 0 ? [anchor, here].sort((a, b) => a - b) : [here, here];
  for (let place = first; place <= last; place++) box(rows[place]).checked = wanted;
  anchor = here;
  count();
}

function chosen() { return rows.filter(row => box(row).checked).length; }

function count() {
  for (const row of rows) row.classList.toggle("chosen", box(row).checked || all.checked);
  form.querySelector("[data-chosen]").textContent = all.checked ? "All" : chosen();
}

function finish(action) {
  if (chosen() || all.checked) return form.requestSubmit(form.querySelector(`button[value="${action}"]`));
  if (here < 0) return say("Go to a row with j, or select some.");
  const row = rows[here];
  decide({ output: Number(row.dataset.output), version: row.dataset.version, action, view });
  mark(row, STATE[action]);
  stand(here + 1);
}

function mark(row, state, words = state) {
  row.dataset.state = state;
  row.querySelector("[data-row-state]").textContent = words;
}

async function undo() {
  const output = await take_back(undefined, view);
  if (output === undefined) return;
  const place = rows.findIndex(row => Number(row.dataset.output) === output);
  if (place >= 0) stand(place);
  say(`Undone: output ${output} is open again.`);
}

async function reveal() {
  const row = rows[here];
  if (!row || row.dataset.covered !== "yes") return;
  const cell = row.querySelector("[data-excerpt]");
  if (covers.has(row)) {
    cell.innerHTML = covers.get(row);
    covers.delete(row);
    return announce("Hidden.");
  }
  const answer = await fetched(`/outputs/${row.dataset.output}/card?reveal=1`);
  const text = answer.ok && new DOMParser().parseFromString(answer.text, "text/html").querySelector("[data-text]");
  if (!text) return say("The text cannot be shown right now.");
  covers.set(row, cell.innerHTML);
  cell.replaceChildren(...text.childNodes);
  announce("Revealed.");
}

if (form) {
  form.addEventListener("change", count);
  form.addEventListener("click", event => {
    const at = /** @type {Element} */ (event.target), row = at.closest("tr[data-output]");
    if (row) { rows[here]?.removeAttribute("data-current"); here = rows.indexOf(row); row.setAttribute("data-current", ""); }
    if (at.closest("[data-reveal]") && !event.ctrlKey && !event.metaKey) { event.preventDefault(); reveal(); }
  });
  form.addEventListener("submit", event => {
    if (chosen() || all.checked) return;
    event.preventDefault();
    say("Nothing is selected: tick rows, press m on a row, or select everything that matches.");
  });
  outbox.addEventListener("taken", event => {
    const { entry, body } = event.detail, row = rows.find(found => Number(found.dataset.output) === entry.output);
    if (!row) return;
    row.dataset.version = body.version;
    box(row).value = `${entry.output}.${body.version}`;
    mark(row, body.state, body.state === "pending" ? "to review" : body.state);
  });
  outbox.addEventListener("refused", event => {
    const row = rows.find(found => Number(found.dataset.output) === event.detail.entry.output);
    if (row) mark(row, event.detail.body.state ?? "pending", "not stored");
  });
  on_keys({
    a: () => finish("approve"), x: () => finish("reject"), u: undo, r: reveal,
    j: () => stand(here + 1), k: () => stand(here - 1), space: () => stand(here + 1),
    m: () => choose(false), M: () => choose(true), "*": () => { all.checked = !all.checked; count(); },
    e: () => { if (rows[here]) location.assign(`${rows[here].querySelector("[data-row-link]").href}#edit`); },
  });
  count();
}
document.documentElement.dataset.ready = "bulk";
