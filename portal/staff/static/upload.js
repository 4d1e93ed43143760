// Sends a file in pieces and goes on where a broken upload ended; then shows the page that says what to do with it, or
// sends the rest of the form.
"use strict";
(() => {
  const TRIES = 5;
  const form = document.querySelector("form[data-upload]");
  if (form === null) {
    return;
  }
  const { upload, page, piece, failed, then } = form.dataset;
  const token = form.querySelector("input[name=csrf_token]").value;
  const shown = form.querySelector("p[hidden]");

  async function ask(method, file, at, body) {
    const values = new URLSearchParams({ name: file.name, size: file.size, at });
    const answer = await fetch(`${upload}?${values}`, {
      method,
      body,
      credentials: "same-origin",
      redirect: "error",
      headers: { "X-CSRFToken": token, ...(body && { "Content-Type": "application/octet-stream" }) },
    });
    const found = await answer.json();
    if (found.error !== undefined) {
      throw Object.assign(new Error(found.error), { final: true });
    }
    return found.at;
  }

  function show(text, share) {
    shown.hidden = false;
    shown.querySelector("output").textContent = text;
    shown.querySelector("progress").value = share * 100;
  }

  async function send(file) {
    let tries = 0;
    let at = null;
    while (at !== file.size) {
      try {
        at = at === null ? await ask("GET", file, 0) : at;
        if (at < file.size) {
          at = await ask("POST", file, at, file.slice(at, at + Number(piece)));
        }
        tries = 0;
      } catch (error) {
        tries += 1;
        if (error.final || tries > TRIES) {
          throw error;
        }
        at = null; // ask how far it came
        await new Promise((resolve) => setTimeout(resolve, 1000 * tries));
        continue;
      }
      show(`${Math.floor((at / file.size) * 100)}%`, at / file.size);
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const input = form.querySelector("input[type=file]");
    const file = input.files[0];
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await send(file);
      if (page !== undefined) {
        location.assign(page); // this one may be the answer to a form, which a reload would send again
        return;
      }
      show(then, 1);
      input.disabled = true; // it is there already
      form.querySelector("input[name=name]").value = file.name;
      form.querySelector("input[name=size]").value = file.size;
      form.submit();
    } catch (error) {
      show(error.final ? error.message : failed, 0);
      button.disabled = false;
    }
  });
})();
