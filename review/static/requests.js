// Requests to the server: each carries the CSRF token, and a server that does not answer is status 0, not an exception.

const PATIENCE_MS = 20000;
let token = /** @type {HTMLMetaElement} */ (document.querySelector('meta[name="csrf"]'))?.content ?? "";

/** Who is signed in, from the page. */
export const reviewer = /** @type {HTMLMetaElement} */ (document.querySelector('meta[name="reviewer"]'))?.content ?? "";

/** @typedef {{status: number, ok: boolean, body: any}} Answer   status 0 = no answer */

/** Posts fields; a list is sent as several fields of one name. @returns {Promise<Answer>} */
export async function post(address, fields, again = true) {
  const answer = await ask(address, { method: "POST", body: encoded(fields), headers: { "x-csrf-token": token, accept: "application/json" } });
  if (answer.status === 403 && answer.body.error === "forged" && again && await refreshed()) return post(address, fields, false);
  return answer;
}

/** Fetches markup that the server has escaped. @returns {Promise<{status: number, ok: boolean, text: string}>} */
export async function fetch_markup(address) {
  try {
    const answer = await fetch(address, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(PATIENCE_MS) });
    return { status: answer.status, ok: answer.ok, text: await answer.text() };
  } catch {
    return { status: 0, ok: false, text: "" };
  }
}

/** Posts fields without waiting, as the page unloads. */
export function post_last(address, fields) {
  navigator.sendBeacon(address, encoded({ ...fields, csrf: token }));
}

/** An idempotency key for one decision. Works without TLS, unlike randomUUID. */
export function random_key() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, "0")).join("");
}

async function ask(address, how) {
  try {
    const answer = await fetch(address, { ...how, signal: AbortSignal.timeout(PATIENCE_MS) });
    const body = await answer.json().catch(() => ({}));
    return { status: answer.status, ok: answer.ok, body };
  } catch {
    return { status: 0, ok: false, body: {} };
  }
}

// Signing in again while this page stays open changes its token.
async function refreshed() {
  const answer = await ask("/session", { headers: { accept: "application/json" } });
  if (!answer.ok || answer.body.reviewer !== reviewer) return false;
  token = answer.body.csrf;
  return true;
}

function encoded(fields) {
  const body = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined && one !== null) body.append(name, String(one));
  }
  return body;
}
