// Decisions on their way: kept in the browser until the server has stored them, sent in order, retried automatically.
// Each has a key that the server accepts once, so sending one twice does no harm.

import { say } from "./announce.js";
import { post, reviewer } from "./requests.js";

const FIRST_WAIT_MS = 1000, LONGEST_WAIT_MS = 15000, QUIET_MS = 900, MOST_FAULTS = 5;
const FINAL = [400, 404, 409, 413, 422];
// One localStorage entry for each decision, so that two tabs never overwrite each other's.
const SHELF = `inkmill.held/${encodeURIComponent(reviewer)}/`, REFUSED = `inkmill.refused/${encodeURIComponent(reviewer)}/`;

/** @typedef {{key: string, output: number, address: string, fields: object, words: string, faults?: number}} Entry */

/** Fires "taken" and "refused" with {entry, body}, and "idle" once nothing is left to send. */
export const outbox = new EventTarget();

/** The fallback where localStorage is full or disabled. @type {Map<string, any>} */
const memory = new Map();
let order = 0;
let sending = false, wait = FIRST_WAIT_MS, timer = 0, trouble = "", showing = 0;

/** Queues a decision; it is safe once this returns. @param {Entry} entry */
export function hold(entry) {
  put(SHELF, entry);
  clearTimeout(showing);
  showing = setTimeout(show, QUIET_MS);
  send();
}

/** The unsent decisions on one output, newest last. @returns {Entry[]} */
export function held(output) {
  return read(SHELF).filter(entry => entry.output === output);
}

/** Resolves when nothing is left to send, or after some time. */
export function settled(most_ms = 3000) {
  if (!read(SHELF).length) return Promise.resolve(true);
  return new Promise(resolve => {
    const over = setTimeout(() => resolve(false), most_ms);
    outbox.addEventListener("idle", () => { clearTimeout(over); resolve(true); }, { once: true });
  });
}

/** Sends what is queued, oldest first; stops at the first that the server does not take. */
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
  // An undo of a decision that was never stored would undo another one.
  for (const other of held(entry.output)) if (other.address === "/undo") drop(SHELF, other.key);
  const why = body.message || "The server rejected it.";
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
  } catch { /* only what is in memory */ }
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
  try { localStorage.removeItem(shelf + key); } catch { /* nothing to remove */ }
}

const TROUBLE = {
  away: "the server does not answer. Retrying automatically.",
  database: "the server cannot reach its database. Retrying automatically.",
  "signed out": "you are signed out. Sign in again in another tab to send them.",
};

/** The bar under the header: what is not sent yet and why, and what was rejected. */
function show() {
  const line = document.getElementById("held");
  if (!line) return;
  const waiting = read(SHELF), refused = read(REFUSED);
  line.hidden = !(waiting.length && trouble) && !refused.length;
  line.classList.toggle("refused", refused.length > 0);
  line.replaceChildren(...(waiting.length && trouble ? waiting_parts(waiting.length) : []), ...(refused.length ? [refused_list(refused)] : []));
}

function waiting_parts(count) {
  const words = part("span", `${count === 1 ? "1 decision" : `${count} decisions`} not sent yet: ${TROUBLE[trouble]}`);
  const parts = [words, button("Send now", send)];
  if (trouble === "signed out") parts.push(Object.assign(part("a", "Sign in"), { href: "/sign-in", target: "_blank", rel: "noopener" }));
  return parts;
}

function refused_list(refused) {
  const list = part("ul", "");
  for (const entry of refused) {
    const item = part("li", `Output ${entry.output}, ${entry.words}: not stored. ${entry.why} `);
    item.append(Object.assign(part("a", "Open it"), { href: `/outputs/${entry.output}` }), " ");
    if (entry.text) item.append(kept_text(entry.text));
    item.append(button("Dismiss", () => { drop(REFUSED, entry.key); show(); }));
    list.append(item);
  }
  return list;
}

function kept_text(text) {
  const kept = part("details", "");
  kept.append(part("summary", "Your text"), Object.assign(part("textarea", ""), { value: text, readOnly: true, rows: 5 }));
  kept.querySelector("textarea").setAttribute("aria-label", "Your text");
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
