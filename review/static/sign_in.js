// Takes the button press off the reader's hands; a request that only looks at the address changes nothing.

/** @type {HTMLFormElement} */ (document.getElementById("sign-in"))?.requestSubmit();
