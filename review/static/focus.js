// The focus view: one output after the other. The next one is claimed and prefetched while this one is being read.

import { announce, toast } from "./announce.js";
import { claim, note_look, release } from "./claims.js";
import { decide, may_decide, STATE, undo_decision } from "./deciding.js";
import { on_keys } from "./keys.js";
import { all_sent, outbox, unsent } from "./outbox.js";
import { follow } from "./page.js";
import { fetch_markup, post } from "./requests.js";

/** Of a text, so much has to be on the screen with its heading. */
const LINES_PX = 60;

const page = /** @type {HTMLElement} */ (document.querySelector("[data-focus]"));
const view = page.dataset.view;
const holder = document.getElementById("card"), rail = document.getElementById("rail");
/** The next output, claimed and prefetched. @type {{after: number, answer: Promise<any>} | null} */
let ahead = null;
let stop_watching = () => {}, latest_load = 0;
/** The rail's next rows, on their way. @type {Promise<boolean> | null} */
let loading = null;
/** Texts (output.revision) that were covered and have been revealed on this page, covered again or not. */
const revealed = new Set();

const card = () => /** @type {HTMLElement | null} */ (holder.querySelector("[data-output]"));
const number = () => card() ? Number(card().dataset.output) : undefined;
const row = output => rail?.querySelector(`[data-output="${output}"]`);
const with_view = (path, more = {}) => `${path}?${new URLSearchParams([...new URLSearchParams(view), ...Object.entries(more)])}`;

/** Shows a card from the server: markup that the server has escaped. */
function show(markup, focus = "#output-title") {
  stop_watching();
  const reason = holder.querySelector("[data-reason]")?.value, before = number();
  holder.innerHTML = markup;
  holder.setAttribute("aria-busy", "false");
  const shown = number();
  if (shown === before && reason) holder.querySelector("[data-reason]").value = reason;
  ready();
  if (shown !== before) stay_at_text();
  holder.style.minHeight = "";
  (holder.querySelector(focus) ?? holder.querySelector("[data-done]"))?.focus({ preventScroll: true });
}

/** Moves the page only where the new text does not begin on the screen: then to the card's beginning. */
function stay_at_text() {
  const start = (holder.querySelector("#text-title") ?? holder).getBoundingClientRect().top;
  const bar = holder.querySelector(".decide"), hidden = bar && getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0;
  if (start < 0 || start > innerHeight - hidden - LINES_PX) holder.scrollIntoView({ block: "start" });
}

/** Sets up the card that is shown: its row, its address, its unsent decisions, and a watch while it is pending. */
function ready() {
  const shown = number(), left = rail?.querySelector("[aria-current]");
  left?.removeAttribute("aria-current");
  if (shown === undefined) return;
  if (card().dataset.seen === "revealed") revealed.add(text_of(shown));
  if (card().dataset.seen !== "covered") note_look(shown, card().dataset.seen);
  mark_current(shown);
  // At its end the rail goes on: an output that is drawn for an audit is in no rail.
  if (!row(shown) && left && left.closest("li").matches(":nth-last-child(-n + 3)")) more_rows().then(() => mark_current(shown));
  document.title = `Output ${shown} · Inkmill`;
  history.replaceState(null, "", with_view(`/outputs/${shown}`));
  for (const entry of unsent(shown)) note_unsent(entry);
  if (card().dataset.pending === "yes") stop_watching = watch(shown);
}

function mark_current(output) {
  if (number() !== output || !row(output)) return;
  row(output).setAttribute("aria-current", "true");
  scroll_rail(row(output));
}

/** Scrolls only the rail: on a phone it lies under the card, and the page must not move. */
function scroll_rail(target) {
  const box = rail?.parentElement;
  if (!target || box.scrollHeight <= box.clientHeight) return;
  const top = target.getBoundingClientRect().top - box.getBoundingClientRect().top;
  if (top < 0 || top > box.clientHeight - target.offsetHeight) box.scrollTop += top - box.clientHeight / 3;
}

function note_unsent(entry) {
  const note = Object.assign(document.createElement("p"), { className: "notice warning local", textContent: `Not sent yet: ${entry.words}. Kept in this browser until the server answers.` });
  card().prepend(note);
}

/** Claims the shown output. Whoever asked for just this one may read it even so; in a queue the next one comes. */
async function claim_open(asked_for) {
  const shown = number();
  if (shown === undefined) return;
  const by = (await claim([shown]))[shown];
  if (number() !== shown) return;
  if (!by) return read_ahead(shown);
  toast(`${by} is reviewing output ${shown}; ${asked_for ? "you can read it" : "here is the next one"}.`);
  if (!asked_for) return advance(shown);
  if (card().dataset.heldBy !== by) await open(shown, card().dataset.covered === "no" && seen(shown) === "revealed" ? { reveal: 1 } : {});
  read_ahead(shown);
}

function seen(output) { return revealed.has(text_of(output)) ? "revealed" : card().dataset.seen; }

/** The text on the card: an edit by a colleague is another one, which nobody has revealed here. */
function text_of(output) { return `${output}.${card().dataset.revision}`; }

function read_ahead(after) {
  if (ahead?.after === after) return;
  // Decisions go first: at the end of a queue the next output may be the first one again.
  ahead = { after, answer: all_sent().then(() => post("/queue/next", { view, after })) };
  ahead.answer.then(answer => { if (answer.ok && answer.body.output && number() === after) claim([after, answer.body.output]); });
}

/** Moves on to the output after this one. */
async function advance(after) {
  const load = ++latest_load;
  const waiting = setTimeout(skeleton, 120);
  let answer = await (ahead?.after === after ? ahead.answer : post("/queue/next", { view, after }));
  ahead = null;
  if (answer.ok && answer.body.output === null && await all_sent()) answer = await post("/queue/next", { view }); // what was skipped
  clearTimeout(waiting);
  if (load !== latest_load) return;
  if (!answer.ok) return show_load_error(after, answer);
  show(answer.body.card);
  if (answer.body.output === null) return announce("Nothing left in this view.");
  announce(described());
  read_ahead(answer.body.output);
}

function described() {
  const shown = card(), top = shown.querySelector(".bar-score")?.firstChild?.textContent?.trim();
  return `Output ${shown.dataset.output}${top ? `, score ${top}` : ""}${shown.dataset.covered === "yes" ? ", covered" : ""}.`;
}

function skeleton() {
  holder.style.minHeight = `${holder.offsetHeight}px`; // a page that grows shorter would scroll
  holder.setAttribute("aria-busy", "true");
  holder.innerHTML = '<div class="card skeleton"><i></i><i></i><i></i><i></i><span class="visually-hidden">Loading</span></div>';
}

function show_load_error(after, answer) {
  const words = answer.status === 401 ? "You are signed out." : answer.body?.message ?? "The server does not answer.";
  holder.setAttribute("aria-busy", "false");
  holder.innerHTML = '<section class="card empty" data-done tabindex="-1"><h2>The next output could not be loaded</h2><p></p><p>Your decisions are safe: stored, or kept in this browser and sent again.</p><p class="actions"><button type="button" class="button primary">Try again</button></p></section>';
  holder.querySelector("p").textContent = words;
  holder.querySelector("button").addEventListener("click", () => advance(after));
  outbox.addEventListener("idle", () => { if (!card() && holder.querySelector("button.primary")) advance(after); }, { once: true });
  announce(words);
}

/** Opens one output by its number. */
async function open(output, more = {}, focus = undefined) {
  const load = ++latest_load;
  const answer = await fetch_markup(with_view(`/outputs/${output}/card`, more));
  if (load !== latest_load) return false;
  if (!answer.ok) { toast(answer.status ? "That output cannot be shown." : "The server does not answer."); return false; }
  show(answer.text, focus);
  return true;
}

async function go_to(output) {
  if (await open(output)) {
    announce(described());
    await claim_open(true);
  }
}

function decide_shown(action, text, reason) {
  const shown = card();
  if (!shown) return;
  const output = number();
  if (!decidable(shown, action)) return;
  decide({ output, version: shown.dataset.version, action, text, view, seen: seen(output), reason: reason ?? shown.querySelector("[data-reason]")?.value });
  mark_row(output, "sending", `${STATE[action]} …`);
  advance(output);
}

/** Whether the card offers a decision, and nothing has to be asked before it; says what. */
function decidable(shown, action) {
  if (!shown.querySelector(`[name="action"][value="${action}"]`)) {
    const by = shown.dataset.heldBy;
    toast(by ? `${by} is reviewing this output; you can only read it.` : `This output cannot be ${STATE[action]} before it is scored.`);
    return false;
  }
  if (action === "approve" && seen(number()) === "covered") {
    toast("This text is covered: reveal it with r and read it before you approve it.");
    shown.querySelector("[data-reveal]")?.focus();
    return false;
  }
  return may_decide(shown, action);
}

function skip() {
  const output = number();
  if (output === undefined) return;
  release(output);
  mark_row(output, undefined, "skipped");
  toast(`Skipped output ${output}.`);
  advance(output);
}

async function undo() {
  const shown = card();
  const decided = shown && !["pending", "unflagged"].includes(shown.dataset.state) ? number() : undefined;
  if (decided && shown.dataset.heldBy) return toast(`${shown.dataset.heldBy} is reviewing this output; you can only read it.`);
  if (decided && !may_decide(shown, "undo it")) return;
  const output = await undo_decision(decided, view, decided && shown.dataset.version);
  if (output === undefined) return;
  mark_row(output, "pending", "");
  if (await open(output)) {
    toast(`Undone: output ${output} is open again.`);
    await claim([output]);
  }
}

function mark_row(output, state, words = state) {
  const shown = row(output);
  if (!shown) return;
  if (state) shown.dataset.state = state;
  shown.querySelector("[data-row-state]").textContent = words;
}

async function move(step) {
  const rows = [...rail?.querySelectorAll("[data-output]") ?? []];
  const current = rows.findIndex(element => Number(element.dataset.output) === number());
  if (current + step >= rows.length && await more_rows()) return move(step);
  const next = rows[current < 0 ? 0 : current + step];
  if (next) return go_to(Number(next.dataset.output));
  toast(step > 0 ? "That was the last one in the list." : "This is the first one in the list.");
}

/** Adds the rail's next rows, once however often it is asked meanwhile. Whether there were any. */
function more_rows() {
  loading ??= load_rows().finally(() => { loading = null; });
  return loading;
}

async function load_rows() {
  const link = rail?.querySelector("[data-more]");
  if (!link) return false;
  const answer = await fetch_markup(link.dataset.more);
  if (!answer.ok) return false;
  link.closest("li").remove();
  rail.insertAdjacentHTML("beforeend", answer.text);
  return true;
}

async function reveal() {
  const shown = card();
  if (!shown || shown.dataset.canCover !== "yes") return false;
  const covered = shown.dataset.covered === "yes";
  const done = await open(number(), covered ? { reveal: 1 } : {}, "#text-title");
  if (done) announce(covered ? "Revealed." : "Covered again.");
  return done;
}

async function edit() {
  if (card()?.dataset.covered === "yes") await reveal();
  const place = /** @type {HTMLDetailsElement | null} */ (holder.querySelector("[data-edit]"));
  if (!place) return toast("This output can only be read now.");
  place.open = true;
  place.querySelector("textarea").focus();
}

function give_reason() { holder.querySelector("[data-reason]")?.focus(); }

async function words() {
  const output = number();
  if (output === undefined) return;
  if (card().dataset.blind === "yes") return toast("This text is audited: its words are shown once it is decided.");
  if (card().dataset.covered === "yes") return toast("Reveal the text first.");
  const answer = await post(`/outputs/${output}/words`, { view });
  if (!answer.ok) return toast(answer.body.message ?? "The server does not answer.");
  if (number() === output) await open(output, { reveal: 1 }, "#text-title");
  announce(answer.body.status === "done" ? "The words are highlighted." : answer.body.served ? "Looking for the words." : "Waiting for a worker.");
}

/** Watches a card that waits for a worker and reloads it when it changes, but never while someone is typing. */
function watch(output) {
  return follow(`/outputs/${output}/changes`, "output", now => {
    if (number() !== output || JSON.stringify(now) === card().dataset.fingerprint || holder.querySelector("[data-edit][open]")) return;
    const { covered, version, heldBy: held } = card().dataset;
    // What was revealed stays so, but not a text that has taken its place meanwhile.
    const stays = covered === "no" && String(now[0]) === version && seen(output) === "revealed";
    open(output, stays ? { reveal: 1 } : {}, ":focus").then(done => {
      if (!done) return;
      toast(held && !card().dataset.heldBy ? `Output ${output} is free again.` : `Output ${output} has changed: ${card().dataset.state}.`);
      if (held) claim_open(true);
    });
  });
}

const on_click = {
  "[data-skip]": skip, "[data-reveal]": reveal, "[data-full]": () => open(number(), { reveal: 1, full: 1 }, "#text-title"),
  "[data-more]": more_rows,
};
page.addEventListener("click", event => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const at = /** @type {Element} */ (event.target), selector = Object.keys(on_click).find(name => at.closest(name)), link = at.closest(".row");
  if (!selector && !link) return;
  event.preventDefault();
  if (selector) on_click[selector](); else go_to(Number(link.dataset.output));
});
rail?.parentElement.addEventListener("scroll", event => {
  const box = /** @type {HTMLElement} */ (event.target);
  if (box.scrollTop + box.clientHeight > box.scrollHeight - box.clientHeight) more_rows();
}, { passive: true });
page.addEventListener("submit", event => {
  const form = /** @type {HTMLFormElement} */ (event.target), kind = form.dataset.decide;
  if (!kind && !form.matches("[data-undo], [data-words]")) return;
  event.preventDefault();
  if (form.matches("[data-undo]")) undo();
  else if (form.matches("[data-words]")) words();
  else if (kind === "edit") decide_shown("edit", form.elements.text.value, form.elements.reason.value);
  else decide_shown(event.submitter?.value ?? "reject");
});
page.addEventListener("reset", () => { holder.querySelector("[data-edit]").open = false; holder.querySelector("#output-title").focus(); });
page.addEventListener("keydown", event => {
  const form = /** @type {Element} */ (event.target).closest("[data-edit] form, [data-reason]");
  if (event.key === "Escape" && form) { if (form.matches("form")) form.reset(); else form.blur(); }
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !form) return;
  if (form.matches("form")) form.requestSubmit(); else decide_shown("reject");
});
outbox.addEventListener("stored", event => mark_row(event.detail.entry.output, event.detail.body.state, event.detail.body.state === "pending" ? "" : event.detail.body.state));
outbox.addEventListener("refused", event => mark_row(event.detail.entry.output, "refused", "not stored"));
on_keys({
  a: () => decide_shown("approve"), x: () => decide_shown("reject"), e: edit, space: skip, u: undo, r: reveal, w: words,
  c: give_reason, j: () => move(1), k: () => move(-1),
});
// Before ready() rewrites the address.
const edit_first = location.hash === "#edit", asked_for = location.pathname.startsWith("/outputs/");
ready();
claim_open(asked_for);
if (edit_first) edit();
document.documentElement.dataset.ready = "focus";
