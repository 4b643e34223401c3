// The event log: at its end it follows; scrolled up, or with text selected, it stays and counts what is new.
(() => {
  const MOST = 600; // lines kept in the page while it follows
  const box = () => document.getElementById("log-box");
  const last = () => Number(document.querySelector("#log > li:last-child")?.dataset.seq || 0);
  let following = true;
  let seen = last();

  const atEnd = () => box().scrollHeight - box().scrollTop - box().clientHeight < 24;
  const selecting = () => {
    const selection = getSelection();
    return selection && !selection.isCollapsed && box().contains(selection.anchorNode);
  };

  function update() {
    if (!box()) return;
    const button = document.getElementById("unread");
    if (following && !selecting()) {
      const lines = document.querySelectorAll("#log > li");
      for (let i = 0; i < lines.length - MOST; i += 1) lines[i].remove();
      if (lines.length > MOST) document.getElementById("earlier").hidden = false;
      box().scrollTop = box().scrollHeight;
      seen = last();
    }
    const unread = last() - seen;
    button.hidden = unread <= 0;
    button.textContent = `${unread} new`;
  }

  document.addEventListener(
    "scroll",
    (event) => {
      if (event.target.id !== "log-box") return;
      following = atEnd();
      if (following) update();
    },
    true,
  );
  document.addEventListener("click", async (event) => {
    if (event.target.closest("#unread")) {
      following = true;
      getSelection()?.removeAllRanges();
      update();
    }
    const button = event.target.closest("#earlier");
    if (!button) return;
    const first = document.querySelector("#log > li")?.dataset.seq;
    if (!first) return;
    const answer = await fetch(`${button.dataset.src}?before=${first}`).catch(() => null);
    if (!answer?.ok || answer.redirected) {
      window.stepline.toast("Earlier events could not be fetched");
      return;
    }
    const before = box().scrollHeight;
    following = false;
    document.getElementById("log").insertAdjacentHTML("afterbegin", await answer.text());
    box().scrollTop += box().scrollHeight - before;
    window.stepline.localise(box());
    button.hidden = Number(document.querySelector("#log > li").dataset.seq) <= 1;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "f" || event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey) return;
    following = true;
    update();
  });
  document.addEventListener("run:shown", update);
  update();
})();
