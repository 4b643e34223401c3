// The task drawer: opens beside the timeline, stands in the address as ?task=, closes with Esc. Payloads of events
// are fetched when their line is opened.
(() => {
  const url = (key) => {
    const address = new URL(location.href);
    if (key) address.searchParams.set("task", key);
    else address.searchParams.delete("task");
    address.hash = "";
    return address;
  };
  const drawer = () => document.getElementById("drawer");
  const head = () => drawer()?.querySelector(".drawer-head");
  const current = () => head()?.dataset.key || "";
  const row = (key) => document.querySelector(`#rows > [data-key="${CSS.escape(key)}"]`);
  let fetching = false;

  function mark(key) {
    for (const other of document.querySelectorAll("#rows > .open")) other.classList.remove("open");
    if (key) row(key)?.classList.add("open");
  }

  async function fetched(key) {
    const run = document.getElementById("run").dataset.run;
    const answer = await fetch(`/runs/${run}/task/?key=${encodeURIComponent(key)}`).catch(() => null);
    return answer?.ok && !answer.redirected ? answer.text() : null;
  }

  async function open(key, reveal) {
    const html = await fetched(key);
    if (html === null) {
      location.assign(url(key));
      return;
    }
    drawer().innerHTML = html;
    drawer().hidden = false;
    document.getElementById("board").classList.add("with-drawer");
    history.replaceState(null, "", url(key));
    mark(key);
    drawer().scrollTop = 0;
    window.stepline.localise(drawer());
    if (reveal) row(key)?.scrollIntoView({ block: "center" });
    document.dispatchEvent(new Event("run:shown"));
  }

  // The task has moved on since the drawer was drawn, or the whole page was drawn anew: what is open stays open.
  async function refresh() {
    const key = current() || new URLSearchParams(location.search).get("task") || "";
    if (!key || fetching || document.hidden) return;
    if (current() && Number(row(key)?.dataset.rev || 0) <= Number(head().dataset.rev)) return;
    fetching = true;
    try {
      const html = await fetched(key);
      if (html === null || (current() && current() !== key)) return;
      await htmx.swap({ target: "#drawer", swap: "innerMorph", text: html, transition: false });
      drawer().hidden = false;
      document.getElementById("board").classList.add("with-drawer");
      mark(key);
      window.stepline.localise(drawer());
    } finally {
      fetching = false;
    }
  }

  function close() {
    const key = current();
    if (drawer().hidden) return;
    drawer().hidden = true;
    drawer().replaceChildren();
    document.getElementById("board").classList.remove("with-drawer");
    history.replaceState(null, "", url(""));
    mark("");
    if (key) row(key)?.querySelector(".t-name").focus();
    document.dispatchEvent(new Event("run:shown"));
  }

  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const name = event.target.closest("#rows .t-name");
    const jump = event.target.closest("[data-jump]");
    if (event.target.closest("#close-drawer")) close();
    else if (jump) open(jump.dataset.jump, true);
    else if (name) {
      const key = name.parentElement.dataset.key;
      if (key === current() && !drawer().hidden) close();
      else open(key, false);
    } else return;
    event.preventDefault();
  });

  document.addEventListener(
    "toggle",
    async (event) => {
      const details = event.target;
      const body = details.open && details.dataset?.src && details.querySelector(".e-body[data-empty]");
      if (!body) return;
      body.removeAttribute("data-empty");
      body.textContent = "…";
      const answer = await fetch(details.dataset.src).catch(() => null);
      if (answer?.ok && !answer.redirected) {
        body.innerHTML = await answer.text();
        window.stepline.localise(body);
      } else {
        body.textContent = "It could not be fetched. Close and open it to try again.";
        body.setAttribute("data-empty", "");
      }
    },
    true,
  );

  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") close();
    if (!["ArrowDown", "ArrowUp", "j", "k", "n"].includes(event.key)) return;
    const rows = [...document.querySelectorAll(`#rows > li${event.key === "n" ? ".s-failed" : ""}:not([hidden])`)];
    if (!rows.length || (event.key.startsWith("Arrow") && !event.target.closest("#rows"))) return;
    event.preventDefault();
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    const step = event.key === "ArrowUp" || event.key === "k" ? -1 : 1;
    const next = rows[Math.min(rows.length - 1, Math.max(0, at + step))] || rows[0];
    (at === rows.length - 1 && event.key === "n" ? rows[0] : next).querySelector(".t-name").focus();
  });

  // What the reader has opened or closed stays so when its surroundings are drawn again.
  htmx.registerExtension("keep-open", {
    htmx_before_morph_attr: (element, detail) => !(element.localName === "details" && detail.attrName === "open"),
  });

  mark(current());
  document.addEventListener("run:shown", () => {
    mark(current());
    refresh();
  });
})();
