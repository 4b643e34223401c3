// The runs list: filters act as they are chosen and stand in the address without empty ones; the table alone is
// fetched, so focus and typing stay where they are. Without this script the form and its button do the same.
(() => {
  const form = document.getElementById("filters");
  const clear = form.querySelector(".clear");
  const keep = document.getElementById("save-view");
  form.querySelector(".apply").hidden = true;
  let wanted = null;
  let typing = 0;

  function address() {
    const asked = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value.trim() !== "") asked.append(name, value);
    const text = asked.toString();
    return form.action.split("?")[0] + (text ? `?${text}` : "");
  }

  async function show(url, step) {
    wanted?.abort();
    const mine = (wanted = new AbortController());
    const table = document.getElementById("runs-table");
    table.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(url, { headers: { "HX-Request": "true" }, signal: mine.signal });
      if (!answer.ok || answer.redirected) throw new Error(`answered ${answer.status}`);
      const html = await answer.text();
      if (mine.signal.aborted) return;
      table.outerHTML = html;
    } catch (error) {
      // Whatever went wrong, the browser's own way of going there says it better.
      if (error.name !== "AbortError") location.assign(url);
      return;
    }
    button.hidden = true;
    if (step && url !== location.href) history.pushState(null, "", url);
    clear.hidden = !new URL(url).search;
    keep.elements.query.value = document.getElementById("runs-table").dataset.query;
    keep.hidden = !keep.elements.query.value;
    window.stepline?.localise(document);
    document.dispatchEvent(new Event("runs:drawn"));
    remember();
    acknowledge();
  }

  // The socket (runs/web/live.py) patches the rows that stand here and counts the runs that came after them. It has
  // to know what stands here: each message of it brings that along, and another table says it anew.
  const ack = document.getElementById("ack");
  const button = document.getElementById("new-runs");

  function acknowledge() {
    const { query, floor, firstPage } = document.getElementById("runs-table").dataset;
    const rows = [...document.querySelectorAll("#runs-rows > tr")];
    const said = { revs: rows.map((row) => `${row.dataset.run}:${row.dataset.rev}`).join(","), query, floor, fresh: "0", counts: firstPage };
    for (const [name, value] of Object.entries(said)) ack.elements[name].value = value;
    document.body.dispatchEvent(new Event("runs:shown"));
  }

  // Nothing is ever put in under the pointer: new runs wait behind a button.
  function announce() {
    const fresh = ack.elements.fresh.value;
    button.hidden = fresh === "0";
    if (!button.hidden) button.textContent = fresh === "1" ? "1 new run" : `${fresh} new runs`;
  }
  new MutationObserver(announce).observe(ack, { childList: true, subtree: true });
  button.addEventListener("click", () => {
    scrollTo({ top: 0 });
    show(location.href, false);
  });

  // The run page goes back to the list as it was.
  function remember() {
    try {
      sessionStorage.setItem("runs", location.search);
    } catch {
      // Without storage the way back leads to the whole list.
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    show(address(), true);
  });
  form.addEventListener("change", (event) => {
    if (event.target.type === "search") return;
    show(address(), true);
  });
  form.addEventListener("input", (event) => {
    if (event.target.type !== "search") return;
    clearTimeout(typing);
    typing = setTimeout(() => show(address(), true), 300);
  });
  const views = document.getElementById("views");
  document.addEventListener("click", (event) => views.contains(event.target) || views.removeAttribute("open"));
  views.addEventListener("keydown", (event) => event.key === "Escape" && views.removeAttribute("open"));
  addEventListener("popstate", () => location.reload());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  window.stepline.shortcut(["/"], "Search the runs", () => { form.elements.q.focus(); form.elements.q.select(); });
  remember();
})();
