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
    const asked = new URLSearchParams({ key, at: window.stepline.rows.at() });
    const answer = await fetch(`task/?${asked}`).catch(() => null);
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
    window.stepline.rows.ask(); // the server tells when this task moves on
    mark(key);
    drawer().scrollTop = 0;
    window.stepline.localise(drawer());
    if (reveal) reach(key);
    window.stepline.settle();
  }

  // Its row comes into sight, wherever it is: in another part of the list, or in a fold, which opens.
  async function reach(key) {
    const { rows, view, follow } = window.stepline;
    const found = await rows.place({ key });
    if (found?.line == null) return;
    follow.set(false);
    if (found.open !== null) view.openFold(found.open);
    rows.go(found.line, false);
  }

  const wanted = () => current() || new URLSearchParams(location.search).get("task") || "";

  // The task has moved on since the drawer was drawn, or the whole page was drawn anew: what is open stays open.
  async function refresh() {
    const key = wanted();
    if (!key || fetching || document.hidden) return;
    const { taskRev } = document.getElementById("sync").dataset; // a number, or @number in a past
    const { rev } = head()?.dataset || {};
    if (current() && (taskRev === rev || Number(taskRev) <= Number(rev))) return;
    fetching = true;
    try {
      const html = await fetched(key);
      if (html === null || wanted() !== key) return;
      await htmx.swap({ target: "#drawer", swap: "innerMorph", text: html, transition: false });
      drawer().hidden = false;
      document.getElementById("board").classList.add("with-drawer");
      mark(key);
      window.stepline.localise(drawer());
    } finally {
      fetching = false;
    }
    // What came meanwhile was passed over.
    if (wanted() !== key || document.getElementById("sync").dataset.taskRev !== taskRev) refresh();
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
    window.stepline.settle();
  }

  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const name = event.target.closest("#rows a.t-name, #graph a.node");
    const jump = event.target.closest("[data-jump]");
    if (event.target.closest("#close-drawer")) close();
    else if (jump) open(jump.dataset.jump, true);
    else if (name) {
      const { key } = name.closest("[data-key]").dataset;
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

  window.stepline.shortcut(["Escape"], "Close the task", close, () => !drawer().hidden);

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
