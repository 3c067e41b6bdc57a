// Decisions on their way: kept in the browser until the server has taken them, sent in order, sent again by themselves.
// Each has a key that the server takes once, so that sending one twice does no harm.

import { say } from "./announce.js";
import { post, reviewer } from "./talk.js";

const FIRST_WAIT_MS = 1000, LONGEST_WAIT_MS = 15000, QUIET_MS = 900, MOST_FAULTS = 5;
const FINAL = [400, 404, 409, 413, 422];
// One entry of the browser's store for each decision, so that two tabs never write over each other's.
const SHELF = `inkmill.held/${encodeURIComponent(reviewer)}/`, REFUSED = `inkmill.refused/${encodeURIComponent(reviewer)}/`;

/** @typedef {{key: string, output: number, address: string, fields: object, words: string, faults?: number}} Entry */

/** Fires "taken" and "refused" with {entry, body}, and "idle" once nothing is on its way. */
export const outbox = new EventTarget();

/** In memory where the browser keeps nothing: its store is full, or switched off. @type {Map<string, any>} */
const memory = new Map();
let order = 0;
let sending = false, wait = FIRST_WAIT_MS, timer = 0, trouble = "", showing = 0;

/** Holds a decision; it is safe when this returns. @param {Entry} entry */
export function hold(entry) {
  put(SHELF, entry);
  clearTimeout(showing);
  showing = setTimeout(show, QUIET_MS);
  send();
}

/** What is held of one output, newest last. @returns {Entry[]} */
export function held(output) {
  return read(SHELF).filter(entry => entry.output === output);
}

/** Resolves when nothing is on its way, or after some time. */
export function settled(most_ms = 3000) {
  if (!read(SHELF).length) return Promise.resolve(true);
  return new Promise(resolve => {
    const over = setTimeout(() => resolve(false), most_ms);
    outbox.addEventListener("idle", () => { clearTimeout(over); resolve(true); }, { once: true });
  });
}

/** Sends what is held, oldest first; stops at the first that nobody takes. */
export async function send() {
  if (sending) return;
  sending = true;
  clearTimeout(timer);
  try {
    for (let entry; (entry = read(SHELF)[0]);) if (!await sent(entry)) return;
    outbox.dispatchEvent(new Event("idle"));
  } finally {
    sending = false;
    if (trouble || !read(SHELF).length) show();
  }
}

async function sent(entry) {
  const answer = await post(entry.address, entry.fields);
  if (answer.ok) {
    [trouble, wait] = ["", FIRST_WAIT_MS];
    drop(SHELF, entry.key);
    tell("taken", entry, answer.body);
    return true;
  }
  const faults = (entry.faults ?? 0) + (answer.status >= 500 && answer.status !== 503 ? 1 : 0);
  if (FINAL.includes(answer.status) || faults >= MOST_FAULTS) {
    refuse(entry, answer.body);
    return true;
  }
  if (faults !== entry.faults) put(SHELF, { ...entry, faults });
  trouble = answer.status === 401 || answer.status === 403 ? "signed out" : answer.status ? "database" : "away";
  timer = setTimeout(send, wait);
  wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  return false;
}

function refuse(entry, body) {
  trouble = "";
  drop(SHELF, entry.key);
  // An undo of something that was never stored would take back something else.
  for (const other of held(entry.output)) if (other.address === "/undo") drop(SHELF, other.key);
  const why = body.message || "The server did not take it.";
  put(REFUSED, { key: entry.key, output: entry.output, words: entry.words, why, text: entry.fields.text });
  tell("refused", entry, body);
  say(`Output ${entry.output}: not stored. ${why}`);
  show();
}

function tell(name, entry, body) { outbox.dispatchEvent(new CustomEvent(name, { detail: { entry, body } })); }

/** Everything on a shelf, oldest first. */
function read(shelf) {
  const found = [...memory].filter(([name]) => name.startsWith(shelf)).map(([, entry]) => entry);
  try {
    for (const name of Object.keys(localStorage)) if (name.startsWith(shelf)) found.push(JSON.parse(localStorage.getItem(name)));
  } catch { /* what is in memory is all there is */ }
  return found.filter(Boolean).sort((one, other) => one.at - other.at || one.order - other.order);
}

function put(shelf, entry) {
  const kept = { at: Date.now(), order: order++, ...entry };
  try {
    localStorage.setItem(shelf + entry.key, JSON.stringify(kept));
  } catch {
    memory.set(shelf + entry.key, kept);
  }
}

function drop(shelf, key) {
  memory.delete(shelf + key);
  try { localStorage.removeItem(shelf + key); } catch { /* it was never there */ }
}

const TROUBLE = {
  away: "the server does not answer. Sent again by themselves.",
  database: "the server cannot reach its database. Sent again by themselves.",
  "signed out": "you are signed out. Sign in again in another tab; they are sent then.",
};

/** The line under the top: what is held and why, and what was refused. */
function show() {
  const line = document.getElementById("held");
  if (!line) return;
  const waiting = read(SHELF), refused = read(REFUSED);
  line.hidden = !(waiting.length && trouble) && !refused.length;
  line.classList.toggle("refused", refused.length > 0);
  line.replaceChildren(...(waiting.length && trouble ? waiting_parts(waiting.length) : []), ...(refused.length ? [refused_list(refused)] : []));
}

function waiting_parts(count) {
  const words = part("span", `${count === 1 ? "One decision is" : `${count} decisions are`} held in this browser: ${TROUBLE[trouble]}`);
  const parts = [words, button("Send now", send)];
  if (trouble === "signed out") parts.push(Object.assign(part("a", "Sign in"), { href: "/sign-in", target: "_blank", rel: "noopener" }));
  return parts;
}

function refused_list(refused) {
  const list = part("ul", "");
  for (const entry of refused) {
    const item = part("li", `Output ${entry.output}, ${entry.words}: not stored. ${entry.why} `);
    item.append(Object.assign(part("a", "Look at it"), { href: `/outputs/${entry.output}` }), " ");
    if (entry.text) item.append(kept_text(entry.text));
    item.append(button("Put away", () => { drop(REFUSED, entry.key); show(); }));
    list.append(item);
  }
  return list;
}

function kept_text(text) {
  const kept = part("details", "");
  kept.append(part("summary", "What you wrote"), Object.assign(part("textarea", ""), { value: text, readOnly: true, rows: 5 }));
  kept.querySelector("textarea").setAttribute("aria-label", "What you wrote");
  return kept;
}

function part(name, words) { return Object.assign(document.createElement(name), { textContent: words }); }
function button(words, press) {
  const made = Object.assign(part("button", words), { type: "button", className: "button small" });
  made.addEventListener("click", press);
  return made;
}

addEventListener("online", send);
addEventListener("storage", show);
addEventListener("beforeunload", event => { if (memory.size) event.preventDefault(); });
if (reviewer) { show(); send(); }
