// What pages do beyond plain HTML: take in what is new, draw charts, say when
// they are not live, let relative times go on, and know some keys.
"use strict";
(() => {
  const $ = (sel, from = document) => from.querySelector(sel);
  const $$ = (sel, from = document) => [...from.querySelectorAll(sel)];
  const offline = document.getElementById("offline");
  const live = (ok) => { offline.hidden = ok; };

  // ---- what is new, by server-sent events; nothing is asked while nobody looks
  const source = $("[data-live]");
  let stream = null;
  const listen = () => {
    if (!source || stream || document.hidden) return;
    stream = new EventSource(source.dataset.live);
    stream.addEventListener("parts", (e) => { live(true); take(e.data); });
    stream.addEventListener("charts", (e) => { live(true); charts(JSON.parse(e.data)); });
    stream.addEventListener("away", () => live(false));
    stream.onerror = () => {
      live(false);
      // Refused, and not only interrupted: the session may be over.
      if (stream.readyState !== EventSource.CLOSED) return;
      hush();
      fetch(location.href, { redirect: "manual" }).then((r) => { if (r.type === "opaqueredirect") location.reload(); }).catch(() => {});
      setTimeout(listen, 3000);
    };
  };
  const hush = () => { if (stream) stream.close(); stream = null; };
  document.addEventListener("visibilitychange", () => { if (document.hidden) hush(); else listen(); });
  addEventListener("pagehide", hush);
  addEventListener("pageshow", listen);

  // Each element takes the place of the one of its ID, unless somebody is using that.
  const take = (html) => {
    const t = document.createElement("template");
    t.innerHTML = html;
    for (const now of [...t.content.children]) {
      const was = document.getElementById(now.id);
      now.removeAttribute("data-new");
      if (!was || was.outerHTML === now.outerHTML || was.contains(document.activeElement)) continue;
      was.replaceWith(now);
    }
  };

  // ---- charts
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const span = (s) => s === null || s === undefined ? "–" : s < 1 ? Math.round(s * 1000) + " ms" : s < 60 ? +s.toPrecision(3) + " s" : Math.floor(s / 60) + " min " + Math.round(s % 60) + " s";
  const plain = (n) => n === null || n === undefined ? "–" : String(+n.toPrecision(3));
  const kinds = {
    rate: { text: plain, series: [["ok", "succeeded", "--blue", true], ["bad", "failed", "--red", true]] },
    took: { text: span, log: true, series: [["p50", "p50", "--green"], ["p95", "p95", "--amber"], ["p99", "p99", "--red"]] },
    queue: { text: plain, series: [["waiting", "jobs", "--violet", true], ["oldest", "longest wait", "--spark", false, "s"]] },
  };
  let known = null;
  const drawn = new Map();
  const options = (figure, kind, data) => {
    const ink = css("--dim"), line = css("--line");
    const grid = { stroke: line, width: 1 }, font = "11px system-ui, sans-serif";
    const axis = (more) => ({ stroke: ink, grid, ticks: { show: false }, font, ...more });
    const tens = (u, v) => v.map((n) => Math.abs(Math.log10(n) % 1) < 1e-9 || v.length < 6 ? n : null);
    const second = kind.series.some((s) => s[4]);
    return {
      width: figure.clientWidth, height: figure.clientHeight, padding: [10, second ? 0 : 18, 0, 0],
      cursor: { points: { size: 6 }, sync: { key: "deetoo" }, y: false },
      legend: { live: true },
      scales: { x: { time: true }, y: kind.log ? { distr: 3, range: (u, lo, hi) => [Math.max(lo / 1.5, .0001), Math.max(hi * 1.5, .001)] } : { range: (u, lo, hi) => [0, Math.max(hi * 1.08, 1)] }, s: { range: (u, lo, hi) => [0, Math.max(hi * 1.08, 1)] } },
      axes: [
        axis({ space: 60, size: 28, values: (u, ts) => ts.map((t) => { const d = new Date(t * 1000); return data.step >= 3600 ? d.toLocaleDateString([], { weekday: "short", day: "numeric" }) : d.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }); }) }),
        axis({ size: 52, space: 26, values: (u, v) => v.map((n) => n === null ? "" : kind.text(n)), ...(kind.log ? { filter: tens, grid: { ...grid, filter: tens } } : {}) }),
        ...(second ? [axis({ scale: "s", side: 1, size: 62, grid: { show: false }, space: 26, values: (u, v) => v.map(span) })] : []),
      ],
      series: [
        { value: (u, t) => t === null ? "" : new Date(t * 1000).toLocaleTimeString([], { weekday: data.step >= 600 ? "short" : undefined, hour: "2-digit", minute: "2-digit", hourCycle: "h23" }) },
        ...kind.series.map(([, label, colour, filled, scale]) => ({
          label, scale: scale || "y", stroke: css(colour), width: 1.5, points: { show: false }, spanGaps: false,
          fill: filled ? css(colour) + "22" : undefined, value: (u, v) => (scale ? span : kind.text)(v),
        })),
      ],
    };
  };
  const charts = (data) => {
    known = data;
    if (!window.uPlot) return;
    const xs = data.ok.map((_, i) => data.start + i * data.step);
    for (const f of $$("[data-chart]")) {
      const kind = kinds[f.dataset.chart], place = $(".plot", f);
      if (!kind || !place.clientWidth) continue;
      const values = [xs, ...kind.series.map((s) => data[s[0]])];
      const was = drawn.get(f);
      if (was) { was.setData(values); continue; }
      place.textContent = "";
      f.classList.add("drawn");
      drawn.set(f, new uPlot(options(place, kind, data), values, place));
    }
  };
  const again = () => {
    for (const [f, plot] of drawn) { plot.destroy(); drawn.delete(f); }
    if (known) charts(known);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let resizing = 0;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(again, 120); });

  // ---- relative times; the same words as in format.go
  const ago = (ms) => {
    const s = Math.abs(ms) / 1000;
    if (s < 1) return "now";
    const text = s < 120 ? Math.floor(s) + " s" : s < 7200 ? Math.floor(s / 60) + " min" : s < 172800 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " d";
    return ms >= 0 ? text + " ago" : "in " + text;
  };
  const tick = () => {
    if (document.hidden) return;
    for (const t of $$("time[datetime]")) {
      const text = ago(Date.now() - Date.parse(t.dateTime));
      if (t.textContent !== text) t.textContent = text;
    }
  };
  setInterval(tick, 5000);

  // ---- one open pop-up at a time; Escape and a click elsewhere close it
  const pops = () => $$("details.who[open], details.sure[open]");
  document.addEventListener("click", (e) => {
    for (const d of pops()) if (!d.contains(e.target)) d.open = false;
    const copy = e.target.closest("[data-copy]");
    if (copy) navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent).then(() => { copy.textContent = "Copied"; });
  });

  // ---- keys
  const keys = document.getElementById("keys");
  let before = "";
  const walk = (step) => {
    const rows = $$("main .list a.name");
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1)].focus();
  };
  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape") {
      for (const d of pops()) { d.open = false; $("summary", d).focus(); }
      if (document.activeElement.closest("[role=search]")) document.activeElement.blur();
      return;
    }
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select, [contenteditable]")) return;
    const first = before;
    before = "";
    if (first === "g") {
      const to = $(`nav a[data-key="${CSS.escape(e.key)}"]`);
      if (to) to.click();
      return;
    }
    switch (e.key) {
      case "g": before = "g"; setTimeout(() => { before = ""; }, 1500); break;
      case "/": { const f = $("[role=search] input"); if (f) { e.preventDefault(); f.focus(); f.select(); } break; }
      case "j": walk(1); break;
      case "k": walk(-1); break;
      case "x": { const row = document.activeElement.closest("tr"), t = row && $(".tick", row); if (t) t.checked = !t.checked; break; }
      case "?": if (keys) keys.showModal(); break;
    }
  });
  for (const b of $$("[data-keys]")) b.addEventListener("click", () => keys.showModal());

  // ---- many jobs at once
  document.documentElement.classList.add("scripts");
  document.addEventListener("change", (e) => {
    if (e.target.matches("[data-all]")) for (const t of $$(".tick")) t.checked = e.target.checked;
  });
  const auto = $("form[data-auto]");
  if (auto) setTimeout(() => auto.submit(), 300);

  listen();
})();
