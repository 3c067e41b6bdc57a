// Keeps parts of a page up to date: [data-live] names the stream, [data-part] what it replaces.

for (const region of document.querySelectorAll("[data-live]")) follow(region);

function follow(region) {
  const source = new EventSource(region.dataset.live);
  const lost = document.createElement("p");
  lost.className = "notice warning";
  lost.setAttribute("role", "status");
  region.before(lost);
  lost.hidden = true;

  source.addEventListener("message", (event) => {
    lost.hidden = true;
    update(region, event.data);
    if (region.querySelector("[data-over]")) source.close();
  });
  source.addEventListener("error", () => {
    lost.textContent = source.readyState === EventSource.CLOSED
      ? "These figures no longer update: the server refused. Reload the page."
      : "The server does not answer; these figures may be out of date. Trying again …";
    lost.hidden = false;
  });
  // Leaving a page must not wait for its stream.
  addEventListener("pagehide", () => source.close());
}

function update(region, html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const shown = region.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!shown || shown.innerHTML === part.innerHTML) continue;
    const held = shown.contains(document.activeElement) ? document.activeElement : null;
    // A focused button stays until the keyboard leaves it.
    if (held?.form) continue;
    shown.replaceChildren(...part.childNodes);
    if (held) same(shown, held)?.focus({ preventScroll: true });
    for (const { name, value } of part.attributes) shown.setAttribute(name, value);
  }
}

// The element that replaced another one: the link to the same place, the region of the same name.
function same(shown, held) {
  const name = ["href", "aria-label"].find((attribute) => held.hasAttribute(attribute));
  return name && shown.querySelector(`[${name}="${CSS.escape(held.getAttribute(name))}"]`);
}
