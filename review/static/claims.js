// Claims on the outputs that are open here: taken, renewed and released.

import { post, post_last } from "./requests.js";

const RENEW_MS = 40000, IDLE_MS = 10 * 60000;
let open = [], active_at = Date.now();

/** Claims what is open and what is prefetched. @returns {Promise<Record<string, string>>} who has those that were lost */
export async function claim(outputs) {
  open = outputs.filter(Boolean);
  if (!open.length) return {};
  const answer = await post("/claims", { output: open });
  return answer.ok ? answer.body.lost : {};
}

/** Tells the server that a text is on the screen: a decision of many says which were not. */
export function note_look(output, seen) { post("/claims", { looked: output, seen }); }

/** Releases one at once. */
export function release(output) {
  open = open.filter(other => other !== output);
  post("/claims/release", { output });
}

for (const sign of ["keydown", "pointerdown", "scroll"]) addEventListener(sign, () => { active_at = Date.now(); }, { passive: true });
// A forgotten page must not keep its claims for ever.
setInterval(() => { if (open.length && Date.now() - active_at < IDLE_MS) post("/claims", { output: open }); }, RENEW_MS);
addEventListener("pagehide", () => { if (open.length) post_last("/claims/release", { output: open }); });
