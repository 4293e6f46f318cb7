// What makes pages quicker to use: theme, counting times, regions that follow the server, keys,
// copying. Pages are complete without it.
const root = document.documentElement;
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const one = (selector, from = document) => from.querySelector(selector);
const say = (text) => { const out = one("#announce"); if (out) out.textContent = text; };
root.dataset.script = "";

// Theme: a cookie, so that the server's first paint is right.
const themes = ["auto", "light", "dark"];
function theme() {
  const next = themes[(themes.indexOf(root.dataset.theme ?? "auto") + 1) % themes.length];
  if (next === "auto") delete root.dataset.theme; else root.dataset.theme = next;
  keep("theme", next);
  say(`Theme: ${next}`);
}

// Time: the page carries the server's clock; only what has passed since is added.
let serverNow = Date.parse(root.dataset.now ?? "") || Date.now();
let loaded = performance.now();
const now = () => serverNow + (performance.now() - loaded);
const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
function distance(ms) {
  let left = Math.round(Math.abs(ms) / 1000);
  const parts = [];
  let begun = false;
  for (const [size, unit] of units) {
    const n = Math.floor(left / size);
    if (n > 0) parts.push(`${n} ${unit}`);
    left -= n * size;
    if (begun) break;
    begun = n > 0;
  }
  return parts.join(" ") || "0 s";
}
// Times of day in the zone the person wants; the server writes the schedule's and UTC.
// A zone that the account names, or else the browser's.
const yours = /\//.test(root.dataset.zone ?? "") ? { timeZone: root.dataset.zone } : {};
const wall = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", ...yours });
function walls() {
  for (const t of all("time[data-wall]")) {
    const text = wall.format(new Date(t.dateTime)).replaceAll(",", "").replace(" at ", " ");
    if (t.textContent !== text) t.textContent = text;
  }
}
function keep(name, value) {
  document.cookie = `${name}=${value}; path=${root.dataset.base || "/"}; max-age=31536000; samesite=lax`;
}
function tick() {
  walls();
  if (root.dataset.live === "paused") return;
  for (const t of all("time[data-rel]")) {
    const ms = Date.parse(t.dateTime) - now();
    const text = Math.abs(ms) < 1000 ? "now" : ms > 0 ? `in ${distance(ms)}` : `${distance(ms)} ago`;
    if (t.textContent !== text) t.textContent = text;
  }
}
setInterval(tick, 1000);
tick();

// The exact time of each, in the zone that the viewer has set.
function inZone() {
  const timeZone = root.dataset.zone;
  if (!timeZone || timeZone === "utc") return;
  const form = new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short", timeStyle: "medium" });
  for (const t of all("time[data-rel]")) t.title = `${form.format(new Date(t.dateTime))} ${timeZone}`;
}
inZone();

// Live: regions follow the same page as the server draws it now. What is under a pointer that moves,
// has the focus, a choice or a selection stays as it is until that is over. A pointer that was left
// lying there holds nothing up.
let moved = -Infinity;
document.addEventListener("pointermove", () => { moved = performance.now(); }, { passive: true });
const words = { live: "Live", paused: "Paused", disconnected: "Offline" };
function setLive(state) {
  if (root.dataset.live === state) return;
  root.dataset.live = state;
  all("[data-act=live] .live__word").forEach((w) => { w.textContent = words[state]; });
  all("[data-act=live]").forEach((b) => b.setAttribute("aria-pressed", String(state !== "paused")));
  say(state === "disconnected" ? "Offline: figures are as of the last answer" : `Updates: ${words[state]}`);
}
function held(region) {
  if (performance.now() - moved < 3000 && region.matches(":hover") && one("a, button, input, summary", region)) return true;
  if (region.contains(document.activeElement)) return true;
  if (one("input:checked", region)) return true;
  const selection = getSelection();
  return Boolean(selection && !selection.isCollapsed && region.contains(selection.anchorNode));
}
function take(fresh) {
  const opened = all("details[id]").filter((d) => d.open).map((d) => d.id);
  for (const region of all("[data-live-region][id]")) {
    const next = fresh.getElementById(region.id);
    if (!next || held(region) || next.innerHTML === region.dataset.shown) continue;
    const log = one("[data-follow]", region);
    const atEnd = log && log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
    const top = log?.scrollTop ?? 0;
    region.dataset.shown = next.innerHTML;
    region.replaceChildren(...[...next.childNodes].map((n) => document.importNode(n, true)));
    all("details[id]", region).forEach((d) => { d.open = opened.includes(d.id); });
    const newLog = one("[data-follow]", region);
    if (newLog) newLog.scrollTop = atEnd ? newLog.scrollHeight : top;
  }
  const stamp = Date.parse(fresh.documentElement.dataset.now ?? "");
  if (stamp) { serverNow = stamp; loaded = performance.now(); }
  tick();
}
let busy = false;
let again = false;
async function refresh() {
  if (root.dataset.live === "paused" || document.hidden) return;
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error", signal: AbortSignal.timeout(8000) });
    if (!answer.ok) throw new Error(String(answer.status));
    const html = await answer.text();
    if (root.dataset.live !== "paused") {
      take(new DOMParser().parseFromString(html, "text/html"));
      setLive("live");
    }
  } catch {
    if (root.dataset.live !== "paused") setLive("disconnected");
  }
  busy = false;
  if (again) { again = false; soon(); }
}
let pending = 0;
function soon() {
  if (!pending) pending = setTimeout(() => { pending = 0; refresh(); }, 400);
}
// The project's events say at once that something changed; without them every five seconds do.
// A page that somebody leaves may be kept aside by the browser, and its stream with it, until no
// connection is left for the next page: so the stream ends when the page is left.
let stream = null;
addEventListener("pagehide", () => stream?.abort());
async function follow() {
  for (;;) {
    if (root.dataset.live === "paused" || document.hidden) { await new Promise((r) => setTimeout(r, 1000)); continue; }
    const stop = new AbortController();
    stream = stop;
    const watch = setInterval(() => { if (root.dataset.live === "paused" || document.hidden) stop.abort(); }, 1000);
    try {
      const answer = await fetch(root.dataset.events, { headers: { accept: "text/event-stream" }, signal: stop.signal });
      if (!answer.ok || !answer.body) throw new Error(String(answer.status));
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        if (/^(data|id):/m.test(value)) soon();
      }
    } catch { /* asked again below */ }
    clearInterval(watch);
    await new Promise((r) => setTimeout(r, 5000));
  }
}
if (root.dataset.events && one("[data-live-region][id]")) {
  setInterval(refresh, 5000);
  // What runs has no event for each line it logs.
  setInterval(() => { if (one("[data-quick]")) refresh(); }, 1000);
  follow();
  document.addEventListener("visibilitychange", soon);
  all("[data-live-region]").forEach((region) => region.addEventListener("pointerleave", soon));
  // What was drawn with motion once must not move again when it is drawn anew.
  setTimeout(() => one("#main")?.classList.remove("enter"), 1200);
}
all("[data-follow]").forEach((log) => { log.scrollTop = log.scrollHeight; });

// The form of a schedule says what it would do while one types.
const form = one("form[data-preview]");
if (form) {
  let timer = 0;
  let asked = 0;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const mine = ++asked;
      const fields = new URLSearchParams(new FormData(form));
      fields.set("act", "preview");
      try {
        const answer = await fetch(form.action, { method: "POST", body: fields, headers: { accept: "text/html" } });
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        const next = fresh.getElementById("preview");
        if (next && mine === asked) one("#preview").replaceChildren(...[...next.childNodes].map((n) => document.importNode(n, true)));
      } catch { say("The preview cannot be drawn while the server is away"); }
    }, 350);
  });
}

// Terms of the query are completed from what there is: the last word of what is typed.
const query = one("input[data-terms]");
if (query) {
  const list = one(`#${query.getAttribute("list")}`);
  const terms = all("option", list).map((o) => o.value);
  query.addEventListener("input", () => {
    const cut = query.value.lastIndexOf(" ") + 1;
    const [before, word] = [query.value.slice(0, cut), query.value.slice(cut).toLowerCase()];
    const fitting = terms.filter((t) => t.toLowerCase().includes(word)).slice(0, 30);
    list.replaceChildren(...fitting.map((t) => { const o = document.createElement("option"); o.value = before + t; return o; }));
  });
}

// Choosing rows.
function picked() {
  const n = all("[data-row]").filter((box) => box.checked).length;
  all("[data-picked]").forEach((out) => { out.textContent = n ? String(n) : "Choose"; });
}
document.addEventListener("change", (e) => {
  if (e.target.matches("[data-all]")) all("[data-row]").forEach((box) => { box.checked = e.target.checked; });
  if (e.target.matches("[data-all], [data-row]")) picked();
  if (e.target.matches("[data-submit]")) e.target.form?.requestSubmit();
});

// The palette.
const palette = one("#palette");
const input = one("#palette-input");
const places = () => all("#palette-list li");
function mark(at) {
  const shown = places().filter((li) => !li.hidden);
  places().forEach((li) => li.setAttribute("aria-selected", "false"));
  const li = shown[Math.max(0, Math.min(at, shown.length - 1))];
  li?.setAttribute("aria-selected", "true");
  li?.scrollIntoView({ block: "nearest" });
}
const marked = () => places().filter((li) => !li.hidden).findIndex((li) => li.getAttribute("aria-selected") === "true");
function sift() {
  const text = input.value.trim().toLowerCase();
  places().forEach((li) => { li.hidden = !li.textContent.toLowerCase().includes(text); });
  one("#palette-none").hidden = places().some((li) => !li.hidden);
  mark(0);
}
function openPalette() {
  if (!palette || palette.open) return;
  input.value = "";
  sift();
  palette.showModal();
  input.focus();
}
input?.addEventListener("input", sift);
palette?.addEventListener("keydown", (e) => {
  if (e.key === "ArrowDown" || e.key === "ArrowUp") { e.preventDefault(); mark(marked() + (e.key === "ArrowDown" ? 1 : -1)); }
  if (e.key !== "Enter" || e.target !== input) return;
  e.preventDefault();
  const text = input.value.trim();
  const number = /^#?\d+$/.test(text) ? text.replace("#", "") : "";
  if (number) location.assign(`${root.dataset.place}/jobs/${number}`);
  else one("#palette-list li[aria-selected=true] a")?.click();
});

const acts = {
  theme,
  palette: openPalette,
  zone(button) {
    root.dataset.times = button.dataset.value;
    keep("times", button.dataset.value);
    all("[data-act=zone]").forEach((b) => b.setAttribute("aria-pressed", String(b === button)));
    say(`Times: ${button.textContent}`);
  },
  live() {
    if (root.dataset.live === "paused") { setLive("live"); refresh(); } else setLive("paused");
  },
  async copy(button) {
    const text = one("code", button.closest(".cmd"))?.textContent ?? "";
    try { await navigator.clipboard.writeText(text); say("Copied"); } catch { say("Copying is not allowed here. Select the text instead."); }
  },
};
document.addEventListener("click", (e) => {
  const button = e.target.closest("[data-act]");
  if (button) acts[button.dataset.act]?.(button);
  all("details.drop[open]").forEach((d) => { if (!d.contains(e.target)) d.open = false; });
});

const jumps = { o: "", s: "/schedules", j: "/jobs", q: "/queues", b: "/batches", l: "/alerts", i: "/notifications", c: "/channels", d: "/deliveries", n: "/nodes", a: "/audit" };
let jumping = 0;
document.addEventListener("keydown", (e) => {
  if ((e.ctrlKey || e.metaKey) && e.key === "k") { e.preventDefault(); openPalette(); return; }
  if (e.key === "Escape") all("details.drop[open]").forEach((d) => { d.open = false; one("summary", d)?.focus(); });
  const typing = e.target.matches?.("input, textarea, select, [contenteditable]");
  if (typing || e.ctrlKey || e.metaKey || e.altKey || one("dialog[open]")) return;
  if (jumping && e.key in jumps && root.dataset.place) { jumping = 0; location.assign(root.dataset.place + jumps[e.key]); return; }
  jumping = 0;
  if (e.key === "g") jumping = setTimeout(() => { jumping = 0; }, 1500);
  if (e.key === "t") theme();
  if (e.key === "p") acts.live();
  if (e.key === "?") one("#help")?.showModal();
  if (e.key === "/") { const filter = one("[data-filter]"); if (filter) { e.preventDefault(); filter.focus(); filter.select(); } }
});
