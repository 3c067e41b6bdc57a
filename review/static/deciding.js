// What the focus view and the table share: deciding one output, and taking the last decision back.

import { announce, say } from "./announce.js";
import { hold, outbox } from "./outbox.js";
import { drawn_key, post, reviewer } from "./talk.js";

const STACK = `inkmill.undo.${reviewer}`, DEEPEST = 200;
const DONE = { approve: "Approved", reject: "Rejected", edit: "Edited" };
export const STATE = { approve: "approved", reject: "rejected", edit: "edited" };

/** Holds a decision and says so; what it needs is there once this returns. */
export function decide({ output, version, action, reason, text, view }) {
  const key = drawn_key();
  hold({ key, output, words: action, address: `/outputs/${output}/decisions`,
         fields: { action, reason, text, expected: version, key, view } });
  write([...read(), output].slice(-DEEPEST));
  say(`${DONE[action]} output ${output}.`);
}

/**
 * Takes back a decision on one output, or the last one of this tab, or else the last one that the server knows.
 * With a version it may be another reviewer's, which is on the screen; without, only one's own.
 */
export async function take_back(output, view, version) {
  const last = output ?? read().at(-1);
  if (last === undefined) return take_back_stored(view);
  write(read().filter((other, place, all) => place !== all.lastIndexOf(last)));
  const key = drawn_key();
  const gone = new Promise(resolve => outbox.addEventListener("taken", function heard(event) {
    if (event.detail.entry.key !== key) return;
    outbox.removeEventListener("taken", heard);
    resolve(last);
  }));
  hold({ key, output: last, words: "undo", address: "/undo", fields: { output: last, expected: version, key, view } });
  announce(`Taking back the decision on output ${last}.`);
  return gone;
}

async function take_back_stored(view) {
  const answer = await post("/undo", { key: drawn_key(), view });
  if (answer.ok) return answer.body.output;
  say(answer.body.message ?? "The server does not answer; nothing was taken back.");
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
