// Shared by the focus view and the table: deciding one output, and undoing the last decision.

import { announce, toast } from "./announce.js";
import { outbox, queue } from "./outbox.js";
import { random_key, post, reviewer } from "./requests.js";

const STACK = `inkmill.undo.${reviewer}`, DEEPEST = 200;
const DONE = { approve: "Approved", reject: "Rejected", edit: "Edited" };
export const STATE = { approve: "approved", reject: "rejected", edit: "edited" };

/** Decisions of colleagues, by output and version, that the reviewer was told of: the next key decides over them. */
const told = new Set();

/** Whether a decision may be made at once: over a colleague's only after asking, once. @param {HTMLElement} shown */
export function may_decide(shown, what) {
  const { output, version, decidedBy: by, state } = shown.dataset, name = `${output}.${version}`;
  if (!by || told.has(name)) return true;
  told.add(name);
  toast(`${by} has ${state} output ${output}. To ${what} over it, do it again.`);
  return false;
}

/** Puts a decision in the outbox and announces it. */
export function decide({ output, version, action, reason, text, view, seen }) {
  const key = random_key();
  queue({ key, output, words: action, address: `/outputs/${output}/decisions`,
         fields: { action, reason, text, expected: version, key, view, seen, over: over(output, version) } });
  write([...read(), output].slice(-DEEPEST));
  toast(`${DONE[action]} output ${output}.`);
}

/**
 * Undoes the decision on one output, or the last one of this tab, or else the last one that the server knows.
 * With a version it may be another reviewer's, shown on the screen; without, only the reviewer's own.
 */
export async function undo_decision(output, view, version) {
  const last = output ?? read().at(-1);
  if (last === undefined) return undo_last_stored(view);
  write(read().filter((other, place, all) => place !== all.lastIndexOf(last)));
  const key = random_key();
  const undone = new Promise(resolve => outbox.addEventListener("stored", function on_stored(event) {
    if (event.detail.entry.key !== key) return;
    outbox.removeEventListener("stored", on_stored);
    resolve(last);
  }));
  queue({ key, output: last, words: "undo", address: "/undo", fields: { output: last, expected: version, key, view, over: over(last, version) } });
  announce(`Undoing the decision on output ${last}.`);
  return undone;
}

function over(output, version) { return told.has(`${output}.${version}`) ? version : undefined; }

async function undo_last_stored(view) {
  const answer = await post("/undo", { key: random_key(), view });
  if (answer.ok) return answer.body.output;
  toast(answer.body.message ?? "The server does not answer; nothing was undone.");
  return undefined;
}

outbox.addEventListener("refused", event => {
  const output = event.detail.entry.output;
  write(read().filter(other => other !== output));
});

function read() {
  try { return JSON.parse(sessionStorage.getItem(STACK) ?? "[]"); } catch { return []; }
}

function write(outputs) {
  try { sessionStorage.setItem(STACK, JSON.stringify(outputs)); } catch { /* the server still knows the last one */ }
}
