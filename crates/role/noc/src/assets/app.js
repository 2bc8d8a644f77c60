// The dashboard's only script: news without a reload, times that run, keys, dark and light.
"use strict";

// ---- dark and light: before anything is drawn
const themes = ["system", "dark", "light"];
let theme = localStorage.getItem("theme");
if (!themes.includes(theme)) theme = "system";
document.documentElement.dataset.theme = theme;

addEventListener("DOMContentLoaded", () => {
  const root = document.documentElement;
  const body = document.body;
  const main = document.getElementById("main");
  const find = document.getElementById("find");
  const helpDialog = document.getElementById("help");
  const lost = document.querySelector(".lost");
  const staleAfter = Number(body.dataset.staleAfter);

  function turnTheme() {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    localStorage.setItem("theme", theme);
    root.dataset.theme = theme;
    nameTheme();
  }
  function nameTheme() {
    const button = document.getElementById("theme");
    if (button) button.textContent = { system: "Auto", dark: "Dark", light: "Light" }[theme];
  }
  document.getElementById("theme")?.addEventListener("click", turnTheme);
  document.getElementById("help-button")?.addEventListener("click", () => helpDialog.showModal());
  nameTheme();

  // ---- times
  let takenMs = Number(body.dataset.seen);
  let offsetMs = 0; // of the server's clock to ours
  let heardMs = performance.now();

  const pad = (number) => String(number).padStart(2, "0");
  function lasts(secs) {
    const [days, hours] = [Math.floor(secs / 86400), Math.floor(secs / 3600) % 24];
    const [minutes, rest] = [Math.floor(secs / 60) % 60, secs % 60];
    if (days) return `${days} d ${pad(hours)} h`;
    if (hours) return `${hours} h ${pad(minutes)} min`;
    if (minutes) return `${minutes} min ${pad(rest)} s`;
    return `${rest} s`;
  }
  const zone = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" })
    .formatToParts(new Date()).find((part) => part.type === "timeZoneName")?.value ?? "local";
  function clockOf(date) {
    const utc = `${pad(date.getUTCHours())}:${pad(date.getUTCMinutes())}:${pad(date.getUTCSeconds())} UTC`;
    if (date.getTimezoneOffset() === 0) return utc;
    return `${utc} \u00b7 ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())} ${zone}`;
  }
  function write(element, text) {
    if (element && element.textContent !== text) element.textContent = text;
  }
  function tick() {
    const nowMs = Date.now() + offsetMs;
    write(document.getElementById("now"), clockOf(new Date(nowMs)));
    const ageMs = takenMs ? Math.max(0, nowMs - takenMs) : 0;
    const isLost = performance.now() - heardMs > staleAfter;
    write(document.getElementById("age"), takenMs ? `data ${Math.floor(ageMs / 1000)} s old` : "nothing seen yet");
    const isStale = isLost || !takenMs || ageMs > staleAfter;
    root.toggleAttribute("data-stale", isStale);
    lost.hidden = !isLost;
    for (const time of document.querySelectorAll("time[data-ends]")) {
      const left = Math.ceil((Number(time.dataset.ends) - nowMs) / 1000);
      write(time, left > 0 ? lasts(left) : "ended");
    }
    for (const time of document.querySelectorAll("time[data-since]")) {
      write(time, lasts(Math.max(0, Math.floor((nowMs - Number(time.dataset.since)) / 1000))));
    }
    for (const time of document.querySelectorAll("time[data-at]:not([data-local])")) {
      time.dataset.local = "";
      time.title = `${time.dateTime} \u00b7 ${new Date(Number(time.dataset.at)).toLocaleString()}`;
    }
  }
  setInterval(tick, 1000);

  // ---- news
  const waiting = new Map(); // parts that somebody is selecting text or typing in
  function isInUse(part) {
    const active = document.activeElement;
    if (part.contains(active) && active.matches("input:not([type=hidden]), textarea, select")) return true;
    const selection = getSelection();
    return !selection.isCollapsed && part.contains(selection.anchorNode);
  }
  function element(html) {
    const template = document.createElement("template");
    template.innerHTML = html; // escaped by the server, which alone writes markup
    return template.content.firstElementChild;
  }
  function swap(id, html) {
    const old = document.getElementById(`part-${id}`);
    const fresh = element(html);
    if (!old) {
      main.append(fresh);
      return;
    }
    if (isInUse(old)) {
      waiting.set(id, html);
      return;
    }
    waiting.delete(id);
    const inside = [...old.querySelectorAll("a, button")];
    const focused = inside.indexOf(document.activeElement);
    const scrolled = old.querySelector(".wide")?.scrollLeft ?? 0;
    old.replaceWith(fresh);
    const wide = fresh.querySelector(".wide");
    if (wide) wide.scrollLeft = scrolled;
    if (focused >= 0) fresh.querySelectorAll("a, button")[focused]?.focus({ preventScroll: true });
  }
  function order(ids) {
    const wanted = ids.map((id) => `part-${id}`);
    for (const part of main.querySelectorAll(":scope > .part")) {
      if (!wanted.includes(part.id)) part.remove();
    }
    for (const id of wanted) {
      const part = document.getElementById(id);
      if (part) main.append(part);
    }
  }
  document.addEventListener("selectionchange", () => {
    for (const [id, html] of [...waiting]) swap(id, html);
  });

  function hear(message) {
    const news = JSON.parse(message.data);
    heardMs = performance.now();
    body.dataset.heard = String(Number(body.dataset.heard ?? 0) + 1);
    offsetMs = news.now_ms - Date.now();
    takenMs = news.taken_ms;
    if (news.strip) document.getElementById("strip")?.replaceWith(element(news.strip));
    if (news.parts) {
      const { order: ids, ...parts } = news.parts;
      for (const [id, html] of Object.entries(parts)) swap(id, html);
      if (ids) order(ids);
      choose(chosen);
    }
    tick();
  }
  let source = null;
  let again = 0;
  function listen() {
    clearTimeout(again);
    source?.close();
    source = new EventSource(body.dataset.live);
    source.addEventListener("message", hear);
    source.addEventListener("error", () => {
      // The browser tries again by itself, unless it was refused.
      if (source.readyState === EventSource.CLOSED) again = setTimeout(listen, 5000);
    });
  }
  if (body.dataset.live) listen();
  // A browser has six connections to a host: screens that nobody looks at give theirs back.
  let leaving = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(leaving);
    if (!body.dataset.live) return;
    if (document.hidden) leaving = setTimeout(() => source?.close(), 30000);
    else if (source?.readyState === EventSource.CLOSED) listen();
  });

  // ---- what changes something is asked for twice
  addEventListener("submit", (event) => {
    const sure = event.target.dataset.sure;
    if (sure && !confirm(sure)) event.preventDefault();
  });

  // ---- keys
  let chosen = -1;
  const rows = () => [...main.querySelectorAll("tbody tr:not(:has(td.none:only-child))")];
  function choose(place) {
    for (const row of main.querySelectorAll("tr.chosen")) row.classList.remove("chosen");
    const all = rows();
    chosen = Math.min(place, all.length - 1);
    all[chosen]?.classList.add("chosen");
  }
  function mark(place) {
    choose(place);
    rows()[chosen]?.scrollIntoView({ block: "nearest" });
  }
  const pages = { o: "/", s: "/subscribers", b: "/bindings", p: "/prefixes", n: "/nodes", t: "/topology",
    a: "/alarms", e: "/events", k: "/kpis", c: "/check", w: "/wall" };
  let goesUntil = 0;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.matches("input, textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const goes = performance.now() < goesUntil;
    goesUntil = 0;
    if (goes && pages[event.key]) {
      location.href = pages[event.key];
      return;
    }
    switch (event.key) {
      case "/":
        if (!find) return;
        find.focus();
        find.select();
        break;
      case "g": goesUntil = performance.now() + 1500; break;
      case "j": mark(chosen + 1); break;
      case "k": mark(Math.max(0, chosen - 1)); break;
      case "d": turnTheme(); break;
      case "?": if (helpDialog.open) helpDialog.close(); else helpDialog.showModal(); break;
      case "Enter":
        if (event.target !== body || chosen < 0) return;
        rows()[chosen]?.querySelector("a")?.click();
        break;
      default: return;
    }
    event.preventDefault();
  });
  tick();
});
