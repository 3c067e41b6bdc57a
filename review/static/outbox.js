// Decisions on their way: kept in the browser until the server has stored them, sent in order, retried automatically.
// Each has a key that the server accepts once, so sending one twice does no harm.

import { toast } from "./announce.js";
import { post, reviewer } from "./requests.js";

const FIRST_WAIT_MS = 1000, LONGEST_WAIT_MS = 15000, QUIET_MS = 900, MAX_FAILURES = 5;
const FINAL = [400, 404, 409, 413, 422];
// One localStorage entry for each decision, so that two tabs never overwrite each other's.
const UNSENT = `inkmill.held/${encodeURIComponent(reviewer)}/`, REFUSED = `inkmill.refused/${encodeURIComponent(reviewer)}/`;

/** @typedef {{key: string, output: number, address: string, fields: object, words: string, failures?: number}} Entry */

/** Fires "stored" and "refused" with {entry, body}, and "idle" once nothing is left to send. */
export const outbox = new EventTarget();

/** The fallback where localStorage is full or disabled. @type {Map<string, any>} */
const memory = new Map();
let order = 0;
let sending = false, wait = FIRST_WAIT_MS, timer = 0, problem = "", showing = 0;

/** Queues a decision; it is safe once this returns. @param {Entry} entry */
export function queue(entry) {
  put(UNSENT, entry);
  clearTimeout(showing);
  showing = setTimeout(show, QUIET_MS);
  send();
}

/** The unsent decisions on one output, newest last. @returns {Entry[]} */
export function unsent(output) {
  return read(UNSENT).filter(entry => entry.output === output);
}

/** Resolves when nothing is left to send, or after some time. */
export function all_sent(timeout_ms = 3000) {
  if (!read(UNSENT).length) return Promise.resolve(true);
  return new Promise(resolve => {
    const over = setTimeout(() => resolve(false), timeout_ms);
    outbox.addEventListener("idle", () => { clearTimeout(over); resolve(true); }, { once: true });
  });
}

/** Sends what is queued, oldest first; stops at the first that the server does not take. */
export async function send() {
  if (sending) return;
  sending = true;
  clearTimeout(timer);
  try {
    for (let entry; (entry = read(UNSENT)[0]);) if (!await sent(entry)) return;
    outbox.dispatchEvent(new Event("idle"));
  } finally {
    sending = false;
    if (problem || !read(UNSENT).length) show();
  }
}

async function sent(entry) {
  const answer = await post(entry.address, entry.fields);
  if (answer.ok) {
    [problem, wait] = ["", FIRST_WAIT_MS];
    drop(UNSENT, entry.key);
    notify("stored", entry, answer.body);
    return true;
  }
  const failures = (entry.failures ?? 0) + (answer.status >= 500 && answer.status !== 503 ? 1 : 0);
  if (FINAL.includes(answer.status) || failures >= MAX_FAILURES) {
    reject(entry, answer.body);
    return true;
  }
  if (failures !== entry.failures) put(UNSENT, { ...entry, failures });
  problem = answer.status === 401 || answer.status === 403 ? "signed out" : answer.status ? "database" : "no answer";
  timer = setTimeout(send, wait);
  wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  return false;
}

function reject(entry, body) {
  problem = "";
  drop(UNSENT, entry.key);
  // An undo of a decision that was never stored would undo another one.
  for (const other of unsent(entry.output)) if (other.address === "/undo") drop(UNSENT, other.key);
  const why = body.message || "The server rejected it.";
  put(REFUSED, { key: entry.key, output: entry.output, words: entry.words, why, text: entry.fields.text });
  notify("refused", entry, body);
  toast(`Output ${entry.output}: not stored. ${why}`);
  show();
}

function notify(name, entry, body) { outbox.dispatchEvent(new CustomEvent(name, { detail: { entry, body } })); }

/** Everything under a prefix, oldest first. */
function read(prefix) {
  const entries = [...memory].filter(([name]) => name.startsWith(prefix)).map(([, entry]) => entry);
  try {
    for (const name of Object.keys(localStorage)) if (name.startsWith(prefix)) entries.push(JSON.parse(localStorage.getItem(name)));
  } catch { /* only what is in memory */ }
  return entries.filter(Boolean).sort((one, other) => one.at - other.at || one.order - other.order);
}

function put(prefix, entry) {
  const stored = { at: Date.now(), order: order++, ...entry };
  try {
    localStorage.setItem(prefix + entry.key, JSON.stringify(stored));
  } catch {
    memory.set(prefix + entry.key, stored);
  }
}

function drop(prefix, key) {
  memory.delete(prefix + key);
  try { localStorage.removeItem(prefix + key); } catch { /* nothing to remove */ }
}

const PROBLEMS = {
  "no answer": "the server does not answer. Retrying automatically.",
  database: "the server cannot reach its database. Retrying automatically.",
  "signed out": "you are signed out. Sign in again in another tab to send them.",
};

/** The bar under the header: what is not sent yet and why, and what was rejected. */
function show() {
  const line = document.getElementById("held");
  if (!line) return;
  const waiting = read(UNSENT), refused = read(REFUSED);
  line.hidden = !(waiting.length && problem) && !refused.length;
  line.classList.toggle("refused", refused.length > 0);
  line.replaceChildren(...(waiting.length && problem ? waiting_parts(waiting.length) : []), ...(refused.length ? [refused_list(refused)] : []));
}

function waiting_parts(count) {
  const words = new_element("span", `${count === 1 ? "1 decision" : `${count} decisions`} not sent yet: ${PROBLEMS[problem]}`);
  const parts = [words, button("Send now", send)];
  if (problem === "signed out") parts.push(Object.assign(new_element("a", "Sign in"), { href: "/sign-in", target: "_blank", rel: "noopener" }));
  return parts;
}

function refused_list(refused) {
  const list = new_element("ul", "");
  for (const entry of refused) {
    const item = new_element("li", `Output ${entry.output}, ${entry.words}: not stored. ${entry.why} `);
    item.append(Object.assign(new_element("a", "Open it"), { href: `/outputs/${entry.output}` }), " ");
    if (entry.text) item.append(text_to_copy(entry.text));
    item.append(button("Dismiss", () => { drop(REFUSED, entry.key); show(); }));
    list.append(item);
  }
  return list;
}

function text_to_copy(text) {
  const details = new_element("details", "");
  details.append(new_element("summary", "Your text"), Object.assign(new_element("textarea", ""), { value: text, readOnly: true, rows: 5 }));
  details.querySelector("textarea").setAttribute("aria-label", "Your text");
  return details;
}

function new_element(name, words) { return Object.assign(document.createElement(name), { textContent: words }); }
function button(words, press) {
  const element = Object.assign(new_element("button", words), { type: "button", className: "button small" });
  element.addEventListener("click", press);
  return element;
}

addEventListener("online", send);
addEventListener("storage", show);
addEventListener("beforeunload", event => { if (memory.size) event.preventDefault(); });
if (reviewer) { show(); send(); }
