// Keeping what is open in one's own hands, and giving it back.

import { post, post_last } from "./talk.js";

const RENEW_MS = 40000, IDLE_MS = 10 * 60000;
let open = [], active_at = Date.now();

/** Claims what is open, and what is read ahead. @returns {Promise<Record<string, string>>} who has those that are lost */
export async function claim(outputs) {
  open = outputs.filter(Boolean);
  if (!open.length) return {};
  const answer = await post("/claims", { output: open });
  return answer.ok ? answer.body.lost : {};
}

/** Gives one back at once. */
export function release(output) {
  open = open.filter(other => other !== output);
  post("/claims/release", { output });
}

for (const sign of ["keydown", "pointerdown", "scroll"]) addEventListener(sign, () => { active_at = Date.now(); }, { passive: true });
// A page that somebody forgot holds nothing for ever.
setInterval(() => { if (open.length && Date.now() - active_at < IDLE_MS) post("/claims", { output: open }); }, RENEW_MS);
addEventListener("pagehide", () => { if (open.length) post_last("/claims/release", { output: open }); });
