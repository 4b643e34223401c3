// What the run page does with its connection and after each message: the page's own link, title, favicon, times.
(() => {
  const live = document.getElementById("live");
  const link = { state: "connecting", text: "Connecting" };
  let downSince = null;

  function show() {
    const chip = document.getElementById("browser-link");
    if (chip) {
      chip.dataset.state = link.state;
      const word = chip.querySelector("b");
      if (word.textContent !== link.text) word.textContent = link.text;
    }
    const head = document.getElementById("run-head");
    const moving = !head.matches("[data-ended], [data-past]");
    const still = !moving || link.state !== "live" || !["live", "connecting", "waiting"].includes(head.dataset.upstream);
    document.body.toggleAttribute("data-still", still);
    const elapsed = head.querySelector("[data-since]");
    elapsed?.toggleAttribute("data-frozen", still);
    document.title = `${head.dataset.word} · ${head.dataset.title} · Stepline`;
    const icon = document.getElementById("favicon");
    const kind = { queued: "waiting", launching: "waiting", rejected: "failed" }[head.dataset.status] || head.dataset.status;
    const href = live.dataset[`icon${kind[0].toUpperCase()}${kind.slice(1)}`];
    if (href && icon.getAttribute("href") !== href) icon.setAttribute("href", href);
    const stop = document.getElementById("stop-watching");
    if (stop) stop.hidden = !moving;
    document.getElementById("no-tasks")?.toggleAttribute("hidden", document.getElementById("rows")?.dataset.tasks !== "0");
    document.getElementById("no-events")?.toggleAttribute("hidden", !!document.querySelector("#log > li"));
    window.stepline.settle();
  }

  live.addEventListener("htmx:ws:after:connection", () => {
    link.state = "live";
    link.text = "Live";
    downSince = null;
    show();
  });
  live.addEventListener("htmx:ws:close", (event) => {
    const code = event.detail?.code;
    if (code === 4401) {
      location.reload();
      return;
    }
    downSince ??= new Date();
    const since = downSince.toTimeString().slice(0, 5);
    link.state = code >= 4000 ? "closed" : "reconnecting";
    link.text = code >= 4000 ? `Closed at ${since}, reload to go on` : `Reconnecting since ${since}`;
    show();
  });
  live.addEventListener("htmx:ws:after:message:incoming", () => {
    window.stepline?.localise(document);
    show();
  });

  // Back to the list as it was left, and on to the run that stands beside this one there.
  try {
    const list = sessionStorage.getItem("runs") || "";
    for (const id of ["back", "previous-run", "next-run"]) {
      const link = document.getElementById(id);
      if (link) link.href += list;
    }
  } catch {
    // Without storage these lead through the whole list.
  }
  for (const [key, id, words] of [["[", "previous-run", "The run before"], ["]", "next-run", "The run after"]]) {
    const link = document.getElementById(id);
    if (link) window.stepline.shortcut([key], words, () => link.click());
  }
  show();
})();
