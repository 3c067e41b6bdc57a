// Confirmation of a bulk decision: Enter decides, Escape goes back, and one press is one decision.

const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-confirm]"));
const go = form?.querySelector("[data-go]");
form?.addEventListener("submit", () => {
  form.querySelector("[data-working]").hidden = false;
  setTimeout(() => { go.disabled = true; });
});
addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && form) form.requestSubmit(go);
  if (event.key === "Escape") document.querySelector("[data-back]")?.click();
});
addEventListener("pageshow", () => { if (go) go.disabled = false; });
document.documentElement.dataset.ready = "confirm";
