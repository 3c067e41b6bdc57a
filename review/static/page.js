// What every page does: colours, the help window, live figures, decisions that are not sent yet.

import { on_keys } from "./keys.js";
import "./outbox.js";
import { post_last } from "./requests.js";

const YEAR_SECONDS = 365 * 86400;
const NEXT = { auto: "dark", dark: "light", light: "auto" };
const root = document.documentElement;

/** Listens to a stream while the page is visible: hidden tabs hold no connection. */
export function follow(address, event, on_data) {
  let source = null;
  const open = () => {
    source = new EventSource(address);
    source.addEventListener(event, message => on_data(JSON.parse(message.data)));
  };
  const turn = () => {
    if (document.hidden) { source?.close(); source = null; } else if (!source) open();
  };
  document.addEventListener("visibilitychange", turn);
  addEventListener("pagehide", () => source?.close());
  turn();
  return () => { document.removeEventListener("visibilitychange", turn); source?.close(); };
}

// Written to the cookie at once, as the server would: the next page must not react to keys that were just turned off,
// however slow the request is.
function save_preference(name, value) {
  const stored = document.cookie.split("; ").find(cookie => cookie.startsWith("inkmill-preferences="))?.split(/=(.*)/s)[1] ?? "";
  const preferences = new URLSearchParams(stored.replaceAll('"', ""));
  preferences.set(name, value);
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `inkmill-preferences=${preferences}; path=/; max-age=${YEAR_SECONDS}; samesite=strict${secure}`;
  post_last("/preferences", { [name]: value }); // and by the server: some browsers keep cookies set by scripts for a few days only
}

function switch_theme(event) {
  event.preventDefault();
  const button = event.target.querySelector("button"), theme = button.value, next = NEXT[theme];
  root.dataset.theme = theme;
  document.querySelector('meta[name="color-scheme"]').content = theme === "auto" ? "light dark" : theme;
  button.value = next;
  button.querySelector("span").textContent = theme[0].toUpperCase() + theme.slice(1);
  button.title = `Colours: ${theme}`;
  button.setAttribute("aria-label", `Colours: ${theme}. Switch to ${next}`);
  save_preference("theme", theme);
}

function switch_keys(event) {
  event.preventDefault();
  root.dataset.keys = root.dataset.keys === "off" ? "on" : "off";
  save_preference("keys", root.dataset.keys);
  show_switch();
}

function show_switch() {
  const off = root.dataset.keys === "off", form = document.querySelector("[data-keys-switch]");
  if (!form) return;
  form.querySelector("[data-keys-words]").textContent = off ? "Keys are off. Buttons and links do everything that keys do." : "Keys are on.";
  form.querySelector("button").textContent = `Turn keys ${off ? "on" : "off"}`;
}

/** To the search field, which a narrow screen keeps folded. */
function search() {
  const fold = /** @type {HTMLInputElement | null} */ (document.getElementById("filters-shown"));
  if (fold) fold.checked = true;
  document.querySelector("[data-search]")?.focus();
}

const help = /** @type {HTMLDialogElement} */ (document.getElementById("keys-help"));
document.querySelector("[data-theme-switch]")?.addEventListener("submit", switch_theme);
document.querySelector("[data-keys-switch]")?.addEventListener("submit", switch_keys);
document.querySelector("[data-close-help]")?.addEventListener("click", () => help.close());
for (const list of document.querySelectorAll("[data-progress]")) {
  follow(/** @type {HTMLElement} */ (list).dataset.progress, "progress", figures => {
    for (const shown of list.querySelectorAll("[data-figure]")) shown.textContent = figures[shown.dataset.figure] ?? shown.textContent;
  });
}
on_keys({
  "?": () => help?.showModal(),
  "/": search,
});
document.querySelector("[data-search]")?.addEventListener("keydown", event => {
  if (event.key === "Escape" && !event.target.value) event.target.blur();
});
