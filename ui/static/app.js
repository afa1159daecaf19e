// What pages do beyond plain HTML: say when they are not live, keep quiet while
// nobody looks, and let relative times go on.
"use strict";
(() => {
  const offline = document.getElementById("offline");
  const live = (ok) => { offline.hidden = ok; };

  document.addEventListener("htmx:beforeRequest", (e) => {
    if (document.hidden) e.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (e) => {
    if (e.detail.successful !== undefined) live(e.detail.successful);
  });
  document.addEventListener("htmx:sendError", () => live(false));
  document.addEventListener("htmx:timeout", () => live(false));

  // The same words as in format.go.
  const ago = (ms) => {
    const s = Math.abs(ms) / 1000;
    if (s < 1) return "now";
    const text = s < 120 ? Math.floor(s) + " s" : s < 7200 ? Math.floor(s / 60) + " min" : s < 172800 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " d";
    return ms >= 0 ? text + " ago" : "in " + text;
  };
  const tick = () => {
    if (document.hidden) return;
    for (const t of document.querySelectorAll("time[datetime]")) {
      const text = ago(Date.now() - Date.parse(t.dateTime));
      if (t.textContent !== text) t.textContent = text;
    }
  };
  setInterval(tick, 5000);

  // One open pop-up at a time; Escape and a click elsewhere close it.
  const pops = () => document.querySelectorAll("details.who[open], details.sure[open]");
  document.addEventListener("click", (e) => {
    for (const d of pops()) if (!d.contains(e.target)) d.open = false;
  });
  document.addEventListener("keydown", (e) => {
    if (e.key !== "Escape") return;
    for (const d of pops()) { d.open = false; d.querySelector("summary").focus(); }
  });
})();
