// What every signed-in page has: copy buttons, times in the reader's zone, ticking durations, short messages.
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

  document.addEventListener("htmx:after:swap", () => localise(document));
  localise(document);
  tick();
  setInterval(tick, 500);
  window.stepline = { now, duration, toast, localise };
})();
