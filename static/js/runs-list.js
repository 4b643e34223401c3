// The runs list: filters act as they are chosen and stand in the address without empty ones; the table alone is
// fetched, so focus and typing stay where they are. Without this script the form and its button do the same.
(() => {
  const form = document.getElementById("filters");
  const clear = form.querySelector(".clear");
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
    if (step && url !== location.href) history.pushState(null, "", url);
    clear.hidden = !new URL(url).search;
    window.stepline?.localise(document);
    remember();
    document.dispatchEvent(new Event("runs:shown"));
  }

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
  addEventListener("popstate", () => location.reload());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    form.elements.q.focus();
    form.elements.q.select();
  });
  remember();
  window.runsList = { show };
})();
