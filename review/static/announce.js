// Messages for everyone: a live region for screen readers, a toast over the page for the rest.

const SHOWN_MS = 4000;
let hiding = 0;

/** Has screen readers read it out, even when it repeats the last message. @param {string} words */
export function announce(words) {
  const region = document.getElementById("announcer");
  if (!region) return;
  region.textContent = "";
  requestAnimationFrame(() => { region.textContent = words; });
}

/** Shows a line for a few seconds, and announces it. @param {string} words */
export function toast(words) {
  const box = document.getElementById("toast");
  if (box) {
    box.textContent = words;
    box.hidden = false;
    clearTimeout(hiding);
    hiding = setTimeout(() => { box.hidden = true; }, SHOWN_MS);
  }
  announce(words);
}
