// The event log: a window of lines stands in the page, between blanks as high as those that do not. At its end it
// follows; scrolled up it stays, counts what is new, and fetches the lines that come into sight.
(() => {
  const LINE = 26; // pixels, as in run.css
  const MOST = 250; // lines in the page
  const PART = 200; // lines that the server sends at once
  const box = () => document.getElementById("log-box");
  const log = () => document.getElementById("log");
  const seq = (line) => Number(line?.dataset.seq || 0);
  const first = () => seq(log().firstElementChild);
  const last = () => seq(log().lastElementChild);
  const shows = () => document.querySelector("#sync [name=shows]").value; // the event that the page stands at
  const since = () => Number(document.querySelector("#sync [name=since]").value); // the last that there is
  let tail = true; // the end of the log is in the page
  let seen = since();
  let fetching = false;
  let scrolled = 0; // where the reader has it
  let shown = shows(); // what the log was drawn for

  const { follow } = window.stepline;
  const atEnd = () => box().scrollHeight - box().scrollTop - box().clientHeight < 24;

  function pad() {
    document.getElementById("log-above").style.height = `${Math.max(0, first() - 1) * LINE}px`;
    document.getElementById("log-below").style.height = `${Math.max(0, since() - last()) * LINE}px`;
  }

  let following = true; // the end stays in sight

  function update() {
    if (!box()) return;
    const moved = shown !== shows(); // in time: the end of another log stands here, all of it new
    if (moved) [shown, tail] = [shows(), true];
    following = moved || (tail && follow.on());
    while (log().children.length > MOST) {
      if (!following) tail = false; // enough of it waits below
      (following ? log().firstElementChild : log().lastElementChild).remove();
    }
    pad();
    if (following) seen = since();
    const unread = since() - seen;
    const button = document.getElementById("unread");
    button.hidden = unread <= 0;
    button.textContent = `${unread} new`;
    document.getElementById("log-count").textContent = since() ? since() : "";
  }

  function place() {
    if (!box()) return;
    if (following) box().scrollTop = box().scrollHeight;
    scrolled = box().scrollTop;
  }

  function show() {
    update();
    place();
  }

  // Back to the end: the server sends the last lines anew.
  function toEnd() {
    if (tail) {
      show();
      return;
    }
    tail = true;
    document.querySelector("#sync [name=since]").value = 0;
    window.stepline.rows.ask();
  }

  // The lines that have come into sight and are not there.
  async function look() {
    const from = Math.floor(box().scrollTop / LINE) + 1;
    const missing = from < first() || (!tail && from + box().clientHeight / LINE > last() && last() < since());
    if (!missing || fetching || !first()) return;
    fetching = true;
    const start = Math.max(1, from - PART / 2);
    const asked = new URLSearchParams({ first: start, at: shows() });
    const answer = await fetch(`events/?${asked}`).catch(() => null);
    fetching = false;
    if (!answer?.ok || answer.redirected) {
      window.stepline.toast("Events could not be fetched");
      return;
    }
    const place = box().scrollTop;
    log().innerHTML = await answer.text();
    tail = last() >= since();
    pad();
    box().scrollTop = place;
    window.stepline.localise(box());
    look();
  }

  document.addEventListener(
    "scroll",
    (event) => {
      if (event.target.id !== "log-box") return;
      const by = box().scrollTop - scrolled;
      scrolled = box().scrollTop;
      if (by === 0) return; // lines have come or gone, and the reader has done nothing
      if (by < -2 && !atEnd()) follow.set(false);
      if (atEnd()) {
        seen = since();
        if (!follow.on()) follow.set(true);
        toEnd();
      } else look();
    },
    true,
  );
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#unread")) return;
    getSelection()?.removeAllRanges();
    follow.set(true);
    toEnd();
  });
  document.addEventListener("run:follow", () => (follow.on() ? toEnd() : show()));
  document.addEventListener("run:shown", update);
  document.addEventListener("run:placed", place);
  window.stepline.log = { atEnd: () => tail };
  show();
})();
