// Renews the figures of an open page, without a click. The page says all of it without this script too.
"use strict";
(() => {
  const EVERY_MS = 5000;
  const source = document.currentScript.dataset.live;
  const changed = document.querySelector("[data-live-changed]");
  const list = document.querySelector("[data-live-devices]");
  const shown = list === null ? "" : list.dataset.liveDevices.split(" ").sort().join(" ");
  let timer = null;

  async function renew() {
    let found;
    try {
      const answer = await fetch(source, { credentials: "same-origin", cache: "no-store" });
      if (answer.status === 401) {
        return; // the login has ended: the next click says so
      }
      found = answer.ok ? await answer.json() : null;
    } catch {
      found = null; // out of reach for a moment
    }
    if (found !== null) {
      for (const element of document.querySelectorAll("[data-live-text]")) {
        const text = found.texts[element.dataset.liveText];
        if (text !== undefined && text !== element.textContent) {
          element.textContent = text;
        }
      }
      if (changed !== null) {
        changed.hidden = found.devices.map(String).sort().join(" ") === shown;
      }
    }
    timer = setTimeout(renew, EVERY_MS);
  }

  function watch() {
    clearTimeout(timer);
    if (!document.hidden) {
      timer = setTimeout(renew, 1000);
    }
  }

  document.addEventListener("visibilitychange", watch);
  watch();
})();
