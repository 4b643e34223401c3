// What every page with something live has: copy buttons, times in the reader's zone, ticking durations, short messages, keys.
(() => {
  const two = (n) => String(n).padStart(2, "0");

  function toast(text) {
    const box = document.getElementById("toasts");
    const item = document.createElement("p");
    item.className = "toast";
    item.textContent = text;
    box.append(item);
    setTimeout(() => item.remove(), 2600);
  }

  // <time datetime="…Z"> is written in UTC by the server; the reader gets the own zone, and UTC on hover.
  function localise(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      time.dataset.local = "";
      if (!time.title) time.title = at.toISOString().replace("T", " ").replace("Z", " UTC");
      const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
      const day = at.toDateString() === new Date().toDateString() ? "" : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} `;
      const form = time.dataset.form || "full";
      const text =
        form === "clock" ? `${clock}.${String(at.getMilliseconds()).padStart(3, "0")}` : form === "short" ? clock.slice(0, 5) : day + clock;
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // 42.3 s, 3 m 07 s, 2 h 05 m: the same words as the server's.
  function duration(seconds, ticking) {
    const s = Math.max(0, seconds);
    if (s < 60) return ticking ? `${Math.floor(s)} s` : s < 1 ? `${Math.round(s * 1000)} ms` : `${s.toFixed(1)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} m ${two(Math.floor(s % 60))} s`;
    return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} m`;
  }

  // <span data-since="epoch seconds"> ticks; the server's clock decides, not this machine's.
  const here = document.querySelector("meta[name=server-now]");
  const skew = here ? Number(here.content) - Date.now() / 1000 : 0;
  const now = () => Date.now() / 1000 + skew;
  function tick() {
    if (document.hidden) return;
    for (const span of document.querySelectorAll("[data-since]")) {
      if (span.closest("[data-frozen]")) continue;
      const text = duration(now() - Number(span.dataset.since), true);
      if (span.textContent !== text) span.textContent = text;
    }
    // <… data-ends><b data-until="epoch seconds"> counts down; what it is part of goes when it is over.
    for (const span of document.querySelectorAll("[data-until]")) {
      const left = Number(span.dataset.until) - now();
      const text = duration(Math.ceil(left), true);
      if (span.textContent !== text) span.textContent = text;
      if (left <= 0) span.closest("[data-ends]").hidden = true;
    }
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from], [data-copy-url]");
    if (!button) return;
    event.preventDefault();
    try {
      const { copy, copyFrom, copyUrl } = button.dataset;
      const text =
        copyUrl !== undefined ? new URL(copyUrl, location.href).href : copyFrom ? document.querySelector(copyFrom).textContent : copy;
      await navigator.clipboard.writeText(text);
      toast("Copied");
    } catch {
      toast("The browser did not allow copying");
    }
  });

  // --- keys: what is listed is what works, because both come from here ---------------------------------------------

  const TYPED = 'textarea, select, [contenteditable], input:not([type="range"], [type="checkbox"], [type="radio"])';
  const NAMES = { ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc" };
  const shortcuts = [];

  // `keys`: any of which does it; `words`: for the list of keys; `when`: whether it means this, else it goes further.
  const shortcut = (keys, words, act, when = () => true) => shortcuts.push({ keys, words, act, when });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
    if (event.target.closest(TYPED) || document.querySelector("dialog[open]")) return;
    const found = shortcuts.find(({ keys, when }) => keys.includes(event.key) && when(event));
    if (!found) return;
    event.preventDefault();
    found.act(event);
  });

  function showKeys() {
    const sheet = document.getElementById("keys");
    const list = document.createElement("dl");
    const lines = shortcuts.map(({ keys, words }) => {
      const line = document.createElement("div");
      const [name, what] = [document.createElement("dt"), document.createElement("dd")];
      for (const key of keys) {
        const cap = document.createElement("kbd");
        cap.textContent = NAMES[key] || key;
        name.append(cap);
      }
      what.textContent = words;
      line.append(name, what);
      return line;
    });
    list.append(...lines);
    sheet.querySelector("dl")?.remove();
    sheet.append(list);
    sheet.showModal();
  }

  const keysButton = document.getElementById("show-keys"); // a page within another's has none
  keysButton?.addEventListener("click", showKeys);
  if (keysButton) shortcut(["?"], "Show these keys", showKeys);

  // On a narrow screen the pages' links scroll sideways: the one of this page is in sight.
  document.querySelector("header.site nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  document.addEventListener("htmx:after:swap", () => localise(document));
  localise(document);
  tick();
  setInterval(tick, 500);
  window.stepline = { now, duration, toast, localise, shortcut };
})();
