// What makes pages quicker to use: theme, counting times, the live state, copying. Pages are complete
// without it.
const root = document.documentElement;
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const say = (text) => { const out = document.querySelector("#announce"); if (out) out.textContent = text; };

// Theme: a cookie, so that the server's first paint is right.
const themes = ["auto", "light", "dark"];
function theme() {
  const next = themes[(themes.indexOf(root.dataset.theme ?? "auto") + 1) % themes.length];
  if (next === "auto") delete root.dataset.theme; else root.dataset.theme = next;
  document.cookie = `theme=${next}; path=${root.dataset.base || "/"}; max-age=31536000; samesite=lax`;
  say(`Theme: ${next}`);
}

// Time: the page carries the server's clock; only what has passed since is added.
const serverNow = Date.parse(root.dataset.now ?? "") || Date.now();
const loaded = performance.now();
const now = () => serverNow + (performance.now() - loaded);
const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
function distance(ms) {
  let left = Math.round(Math.abs(ms) / 1000);
  const parts = [];
  for (const [size, unit] of units) {
    const n = Math.floor(left / size);
    if (n > 0 || (unit === "s" && parts.length === 0)) { parts.push(`${n} ${unit}`); left -= n * size; }
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}
function tick() {
  if (root.dataset.live !== "live") return;
  for (const t of all("time[data-rel]")) {
    const ms = Date.parse(t.dateTime) - now();
    t.textContent = Math.abs(ms) < 1000 ? "now" : ms > 0 ? `in ${distance(ms)}` : `${distance(ms)} ago`;
  }
}
setInterval(tick, 1000);

const words = { live: "Live", paused: "Paused", disconnected: "Offline" };
function setLive(state) {
  root.dataset.live = state;
  all("[data-act=live] .live__word").forEach((w) => { w.textContent = words[state]; });
  all("[data-act=live]").forEach((b) => b.setAttribute("aria-pressed", String(state === "live")));
}

const acts = {
  theme,
  live: () => setLive(root.dataset.live === "live" ? "paused" : "live"),
  async copy(button) {
    const text = button.closest(".cmd")?.querySelector("code")?.textContent ?? "";
    try { await navigator.clipboard.writeText(text); say("Copied"); } catch { say("Copying is not allowed here. Select the text instead."); }
  },
};
document.addEventListener("click", (e) => {
  const button = e.target.closest("[data-act]");
  if (button) acts[button.dataset.act]?.(button);
});
document.addEventListener("keydown", (e) => {
  const typing = e.target.matches("input, textarea, select, [contenteditable]");
  if (typing || e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === "t") theme();
  if (e.key === "p") acts.live();
});
