// Presses the button for the reader. Only this POST signs in: fetching the address changes nothing.

/** @type {HTMLFormElement} */ (document.getElementById("sign-in"))?.requestSubmit();
