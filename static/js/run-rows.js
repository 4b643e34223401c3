// The rows of the timeline: a window of them stands in the page, between blanks as high as the rows that do not. What
// comes over the socket is worked into the rows that are there, so that focus and selected text stay where they are.
(() => {
  const ROW = 28; // pixels, as in run.css
  const AHEAD = 30; // rows beyond those in sight that should be there already
  const STEP = 25; // rows: the window moves by no less
  const BREATHING = 12; // bars that may move at once: each costs its share of every frame
  const live = document.getElementById("live");
  const form = document.getElementById("ack");
  const box = () => document.getElementById("rows-box");
  const list = () => document.getElementById("rows");
  const at = () => form.elements.at.value; // the event after which the run is wanted; "" for now
  const number = (name) => Number(list().dataset[name] || 0);
  let turn = 0; // of the last word to the server; an answer to an earlier one is dropped
  let wants = false; // something that the last answer did not hold
  let wanted = null; // the line to go to when it is there
  let top = 0; // where the box was scrolled to, for when the whole body is drawn anew

  // --- asking ---------------------------------------------------------------------------------------------------

  // Tell the server what is in sight; what is missing comes over the socket.
  function ask() {
    wants = true;
    htmx.trigger(form, "ask");
  }

  live.addEventListener("htmx:ws:before:message:outgoing", (event) => {
    const { values } = event.detail.message;
    turn += 1;
    values.turn = turn;
    values.wants = wants ? "1" : "0";
    values.task = new URLSearchParams(location.search).get("task") || "";
    values.log = window.stepline.log?.atEnd() === false ? "0" : "1";
  });
  live.addEventListener("htmx:ws:before:message:incoming", (event) => {
    const answers = /^<!--(\d+)-->/.exec(event.detail.message.data);
    if (answers && Number(answers[1]) !== turn) event.detail.cancelled = true;
    else wants = false;
  });

  // --- putting in -----------------------------------------------------------------------------------------------

  // Make one node like another, changing only what differs.
  function patch(old, next) {
    if (old.isEqualNode(next)) return;
    if (old.nodeName !== next.nodeName) {
      old.replaceWith(next);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = next.data;
      return;
    }
    for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const [mine, theirs] = [[...old.childNodes], [...next.childNodes]];
    if (mine.length === theirs.length && mine.every((node, i) => node.nodeName === theirs[i].nodeName)) {
      mine.forEach((node, i) => patch(node, theirs[i]));
    } else {
      old.replaceChildren(...theirs);
    }
  }

  function arrange(rows, have, order) {
    const stays = new Set(order);
    for (const [id, row] of have) if (!stays.has(id)) row.remove();
    let place = rows.firstElementChild;
    for (const id of order) {
      const row = have.get(id);
      if (!row) continue;
      if (row === place) place = place.nextElementSibling;
      else rows.insertBefore(row, place);
    }
  }

  function put() {
    const fresh = document.querySelector("#rows-in > ol");
    const rows = list();
    if (!fresh || !rows) return;
    const have = new Map([...rows.children].map((row) => [row.id, row]));
    for (const row of [...fresh.children]) {
      if (have.has(row.id)) patch(have.get(row.id), row);
      else have.set(row.id, row);
    }
    const { order, ...rest } = fresh.dataset;
    if (order !== undefined) arrange(rows, have, order.split(" "));
    Object.assign(rows.dataset, rest);
    fresh.remove();
  }

  function putGraph() {
    const fresh = document.querySelector("#graph-in > *");
    if (!fresh) return;
    const graph = document.getElementById("graph");
    if (graph.firstElementChild) patch(graph.firstElementChild, fresh);
    else graph.append(fresh);
    document.getElementById("graph-in").replaceChildren();
  }

  function pad() {
    const below = Math.max(0, number("total") - number("first") - list().children.length);
    document.getElementById("pad-above").style.height = `${number("first") * ROW}px`;
    document.getElementById("pad-below").style.height = `${below * ROW}px`;
    document.getElementById("none-fit").hidden = number("total") > 0 || number("tasks") === 0;
  }

  // --- the part in sight ----------------------------------------------------------------------------------------

  const seen = () => {
    const height = box().clientHeight - 30; // under the axis
    const first = Math.max(0, Math.floor(box().scrollTop / ROW));
    return { first, last: Math.min(number("total"), first + Math.ceil(height / ROW)), height };
  };

  function look() {
    const { first, last } = seen();
    const start = number("first");
    const end = start + list().children.length;
    const missing = (first - AHEAD < start && start > 0) || (last + AHEAD > end && end < number("total"));
    const place = String(Math.floor(first / STEP) * STEP);
    const field = form.elements.first;
    if (!missing || field.value === place) return;
    field.value = place;
    ask();
  }

  const rowAt = (line) => list().children[line - number("first")];

  // Bring this line into sight; `focus`: and the focus to it.
  function go(line, focus) {
    const { first, height } = seen();
    const y = line * ROW;
    if (line < first || y + ROW > box().scrollTop + height) box().scrollTop = Math.max(0, y - height / 3);
    const row = rowAt(line);
    if (!row || row.parentElement !== list()) {
      wanted = { line, focus };
      look();
      return;
    }
    wanted = null;
    if (focus) row.querySelector(".t-name").focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
    box().closest(".timeline").scrollIntoView({ block: "nearest" });
  }

  // Which line is the task's, or the next failed one's? A fold that hides it is opened.
  async function place(query) {
    const asked = new URLSearchParams(form.elements.view.value);
    asked.set("at", at());
    for (const [name, value] of Object.entries(query)) asked.set(name, value);
    const answer = await fetch(`place/?${asked}`).catch(() => null);
    if (!answer?.ok || answer.redirected) return null;
    return answer.json();
  }

  function placed() {
    if (!list()) return;
    if (wanted) go(wanted.line, wanted.focus);
    else look();
  }

  // Everybody puts the page in order first, and then asks where things are and scrolls: each question between two
  // changes would lay the whole page out once more.
  function settle() {
    document.dispatchEvent(new Event("run:shown"));
    document.dispatchEvent(new Event("run:placed"));
  }

  let remembering = 0;
  document.addEventListener(
    "scroll",
    (event) => {
      if (event.target.id !== "rows-box") return;
      top = box().scrollTop;
      look();
      clearTimeout(remembering);
      remembering = setTimeout(() => {
        const address = new URL(location.href);
        const { first } = seen();
        if (first > 0) address.searchParams.set("row", first);
        else address.searchParams.delete("row");
        if (address.href !== location.href) history.replaceState(null, "", address);
      }, 300);
    },
    true,
  );
  addEventListener("resize", placed);
  live.addEventListener("htmx:ws:after:message:incoming", () => {
    put();
    putGraph();
    if (!box() || "kept" in box().dataset) return;
    box().dataset.kept = ""; // a new one, for the body was drawn anew: its reader is still where the old one was
    box().scrollTop = top;
  });
  document.addEventListener("run:shown", () => {
    if (!list()) return;
    pad();
    list().toggleAttribute("data-many", list().querySelectorAll(":scope > .s-running").length > BREATHING);
  });
  document.addEventListener("run:placed", placed);

  window.stepline.settle = settle;
  window.stepline.rows = { ask, go, place, number, at, seen, rowAt, row: ROW };
  box().dataset.kept = "";
  pad();
  box().scrollTop = top = Number(new URLSearchParams(location.search).get("row") || 0) * ROW;
})();
