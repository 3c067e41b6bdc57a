// Saying something to everybody: to screen readers by a live region, to eyes by a short line over the page.

const SHOWN_MS = 4000;
let hiding = 0;

/** Has screen readers say it; the same words twice are said twice. @param {string} words */
export function announce(words) {
  const region = document.getElementById("announcer");
  if (!region) return;
  region.textContent = "";
  requestAnimationFrame(() => { region.textContent = words; });
}

/** Shows a line for a few seconds, and announces it. @param {string} words */
export function say(words) {
  const toast = document.getElementById("toast");
  if (toast) {
    toast.textContent = words;
    toast.hidden = false;
    clearTimeout(hiding);
    hiding = setTimeout(() => { toast.hidden = true; }, SHOWN_MS);
  }
  announce(words);
}
