// Single-key shortcuts: ignored while someone types, and when they are turned off (WCAG 2.1.4).

const HELD_DOWN = ["j", "k"];
const TYPING = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]";

/** Listens for keys by name: "a", "space", "?"; a capital letter where Shift means something else. */
export function on_keys(actions) {
  document.addEventListener("keydown", event => {
    const action = actions[pressed(event, actions)];
    if (!action || resting(event)) return;
    event.preventDefault();
    action(event);
  });
}

/** Whether single keys are on. */
export function keys_on() { return document.documentElement.dataset.keys !== "off"; }

function pressed(event, actions) {
  if (event.key === " ") return "space";
  if (event.key === "Backspace") return "u";
  if (event.shiftKey && event.key in actions) return event.key;
  return event.key.length === 1 ? event.key.toLowerCase() : event.key; // Caps Lock changes nothing
}

function resting(event) {
  const at = /** @type {Element} */ (event.target);
  if (!keys_on() || event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return true;
  // Only open dialogs: one that was just closed may keep the focus until the browser repaints.
  if (at.closest?.(TYPING) || document.querySelector("dialog[open]")) return true;
  if (event.key === " " && at.closest?.("a, button, summary, input, [role=region]")) return true; // Space presses the focused element
  return event.repeat && !HELD_DOWN.includes(event.key); // a key held down decides once
}
