// The toolbar: what is chosen stands in the address and is told to the server, which sends the rows that fit.
(() => {
  const NAMES = ["find", "state", "errors", "fold", "open", "idle", "view"]; // what the server goes by
  const form = document.getElementById("ack");
  const { rows } = window.stepline;
  const chosen = () => new URLSearchParams(location.search);
  const PAUSE = 120; // milliseconds without a letter after which the server is asked
  let typing = 0;

  function change(edit, pause = 0) {
    const address = new URL(location.href);
    edit(address.searchParams);
    history.replaceState(null, "", address);
    const view = new URLSearchParams();
    for (const name of NAMES) for (const value of address.searchParams.getAll(name)) view.append(name, value);
    form.elements.view.value = view;
    show();
    clearTimeout(typing);
    if (pause) typing = setTimeout(rows.ask, pause);
    else rows.ask();
  }

  const set = (name, value, pause) => change((query) => (value ? query.set(name, value) : query.delete(name)), pause);

  function flip(name, value) {
    set(name, chosen().get(name) === value ? "" : value);
  }

  function flipIn(query, name, values, value) {
    query.delete(name);
    return values.includes(value) ? values.filter((one) => one !== value) : [...values, value];
  }

  function flipState(state) {
    change((query) => {
      const states = flipIn(query, "state", (query.get("state") || "").split(",").filter(Boolean), state);
      if (states.length) query.set("state", states.join(","));
    });
  }

  function flipFold(name) {
    change((query) => {
      for (const one of flipIn(query, "open", query.getAll("open"), name)) query.append("open", one);
    });
  }

  const press = (id, on) => document.getElementById(id)?.setAttribute("aria-pressed", on);

  function show() {
    const query = chosen();
    const states = (query.get("state") || "").split(",");
    for (const chip of document.querySelectorAll("#state-chips > [data-state]")) {
      chip.setAttribute("aria-pressed", states.includes(chip.dataset.state));
    }
    press("errors-only", query.get("errors") === "1");
    press("fold", query.get("fold") !== "0");
    press("hide-idle", query.get("idle") === "hide");
    const list = document.getElementById("rows");
    if (!list) return;
    const view = query.get("view") === "graph" ? "graph" : "";
    document.getElementById("board").dataset.view = view;
    document.getElementById("toolbar").dataset.view = view;
    for (const link of document.querySelectorAll(".switch [data-view]")) {
      if (link.dataset.view === view) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    document.getElementById("fold").hidden = query.get("fold") !== "0" && !list.querySelector(".fold");
    document.getElementById("hide-idle").hidden = !list.dataset.idle;
  }

  document.addEventListener("input", (event) => {
    if (event.target.id === "find-task") set("find", event.target.value.trim(), PAUSE);
  });
  document.addEventListener("click", (event) => {
    const chip = event.target.closest("#state-chips > [data-state]");
    const fold = event.target.closest("#rows .fold .t-name");
    if (chip) flipState(chip.dataset.state);
    else if (fold) flipFold(fold.parentElement.dataset.fold);
    else if (event.target.closest("#errors-only")) flip("errors", "1");
    else if (event.target.closest("#fold")) flip("fold", "0");
    else if (event.target.closest("#hide-idle")) flip("idle", "hide");
    else if (event.target.closest("#clear-filter")) {
      document.getElementById("find-task").value = "";
      change((query) => ["find", "state", "errors"].forEach((name) => query.delete(name)));
    }
    const view = event.target.closest("[data-view]:not(#board)");
    if (view && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.preventDefault();
      set("view", view.dataset.view);
    }
  });
  window.stepline.shortcut(["/"], "Find a task", () => document.getElementById("find-task").focus());
  document.addEventListener("run:shown", show);
  window.stepline.view = { change, openFold: (name) => chosen().getAll("open").includes(name) || flipFold(name) };
  show();
})();
