// Following: what happens now stays in sight until the reader scrolls up or selects something; f follows again.
// And the keys that go from row to row.
(() => {
  const { rows } = window.stepline;
  const box = () => document.getElementById("rows-box");
  const button = () => document.getElementById("follow");
  const going = () => !document.getElementById("run-head").matches("[data-ended], [data-past]");
  let following = !new URLSearchParams(location.search).get("row");
  let known = rows.number("tasks"); // tasks that the reader has been shown
  let scrolled = box().scrollTop; // where the reader has it
  let line = -1; // where the keys are

  function show() {
    if (!box()) return;
    if (following || !going()) known = rows.number("tasks");
    const fresh = rows.number("tasks") - known;
    const unread = document.getElementById("rows-unread");
    unread.hidden = fresh <= 0;
    unread.textContent = `${fresh} new`;
    button().hidden = !going();
    button().setAttribute("aria-pressed", following);
    const word = button().querySelector("span");
    if (word.textContent !== (following ? "Live" : "Paused")) word.textContent = following ? "Live" : "Paused";
  }

  // The row in which something began last comes into sight.
  function keepUp() {
    const front = document.getElementById("rows").dataset.front;
    if (!following || front === "") return;
    const { first, height } = rows.seen();
    const at = Number(front) * rows.row;
    if (Number(front) >= first && at + rows.row <= box().scrollTop + height) return;
    box().scrollTop = Math.max(0, at - height * 0.6);
    scrolled = box().scrollTop;
  }

  function follow(on) {
    if (following === on) return;
    following = on;
    show();
    if (on) keepUp();
    document.dispatchEvent(new Event("run:follow"));
  }

  function readerScrolled() {
    if (!box()) return;
    const by = box().scrollTop - scrolled;
    const end = box().scrollHeight - box().scrollTop - box().clientHeight < 4;
    scrolled = box().scrollTop;
    if (by < -2) follow(false);
    else if (by > 0 && end && !following && box().scrollHeight > box().clientHeight) follow(true);
  }

  document.addEventListener("scroll", (event) => event.target.id === "rows-box" && readerScrolled(), true);
  // The scroll event comes a frame after the scrolling. What the server sends in between must not undo it.
  document.getElementById("live").addEventListener("htmx:ws:before:message:incoming", readerScrolled);
  document.addEventListener("selectionchange", () => {
    const selection = getSelection();
    const inside = selection?.anchorNode && document.getElementById("run").contains(selection.anchorNode);
    if (inside && !selection.isCollapsed) follow(false);
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#follow")) follow(!following);
    if (event.target.closest("#rows-unread")) {
      getSelection()?.removeAllRanges();
      follow(true);
      rows.go(rows.number("total") - 1, false);
    }
    if (event.target.closest("#next-failure")) nextFailure();
  });

  function current() {
    const row = document.activeElement?.closest("#rows > li");
    return row ? rows.number("first") + [...row.parentElement.children].indexOf(row) : line;
  }

  function goTo(next) {
    line = Math.max(0, Math.min(rows.number("total") - 1, next));
    follow(false);
    rows.go(line, true);
  }

  async function nextFailure() {
    const found = await rows.place({ after: current() < 0 ? "" : current() });
    if (found?.line === null) window.stepline.toast("Nothing has failed among what is shown");
    else if (found) goTo(found.line);
  }

  const { shortcut } = window.stepline;
  const inRows = (event) => !event.key.startsWith("Arrow") || !!event.target.closest("#rows");
  shortcut(["j", "ArrowDown"], "Next task (the arrow once a task has the focus)", () => goTo(current() + 1), inRows);
  shortcut(["k", "ArrowUp"], "Task before (likewise)", () => goTo(current() - 1), inRows);
  shortcut(["n"], "Next failure", nextFailure);
  shortcut(["f"], "Follow what happens, while the run goes on", () => follow(!following), going);
  document.addEventListener("run:shown", show);
  document.addEventListener("run:placed", () => {
    if (!box()) return;
    keepUp();
    scrolled = box().scrollTop; // rows have come or gone, and the reader has done nothing
  });
  window.stepline.follow = { on: () => following, set: follow };
  show();
  keepUp();
})();
