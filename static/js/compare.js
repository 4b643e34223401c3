// The page of two runs: what differs in a task is fetched when its row is opened, and stands in the address. Without
// this script the same links load the page with the row open.
(() => {
  const body = document.querySelector("table.comparison tbody");

  async function open(link, row) {
    const answer = await fetch(link.dataset.src).catch(() => null);
    if (!answer?.ok || answer.redirected) {
      location.assign(link.href); // the browser's own way of going there says better what is wrong
      return;
    }
    const opened = document.createElement("tr");
    opened.className = "opened";
    opened.setAttribute("role", "row");
    opened.innerHTML = '<td role="cell" colspan="4"></td>';
    opened.firstChild.innerHTML = await answer.text();
    const closedMeanwhile = link.getAttribute("aria-expanded") !== "true";
    if (closedMeanwhile || row.nextElementSibling?.matches(".opened")) return;
    row.after(opened);
  }

  // One task stands in the address at a time, and the runs themselves beside it; links that show the same otherwise
  // take it along.
  function tell(link, on) {
    const asked = new URL(link.dataset.src, location.href).searchParams;
    const key = asked.get("after") || asked.get("before");
    const [name, value] = key ? ["task", key] : ["whole", "1"];
    const told = (href) => {
      const address = new URL(href);
      address.hash = "";
      if (on) address.searchParams.set(name, value);
      else if (address.searchParams.get(name) === value) address.searchParams.delete(name);
      return address.href;
    };
    history.replaceState(null, "", told(location.href));
    for (const other of document.querySelectorAll("a[data-same]")) other.href = told(other.href);
  }

  body.addEventListener("click", (event) => {
    const link = event.target.closest("a.t-open");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const row = link.closest("tr");
    const on = link.getAttribute("aria-expanded") !== "true";
    link.setAttribute("aria-expanded", on);
    tell(link, on);
    if (on) open(link, row);
    else if (row.nextElementSibling?.matches(".opened")) row.nextElementSibling.remove();
  });

  const menus = document.querySelectorAll(".side .menu");
  document.addEventListener("click", (event) => menus.forEach((menu) => menu.contains(event.target) || menu.removeAttribute("open")));
  document.addEventListener("keydown", (event) => event.key === "Escape" && menus.forEach((menu) => menu.removeAttribute("open")));
})();
