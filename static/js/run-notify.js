// "Tell me when it ends": a desktop notification for whoever asked for it here, of this run, in this browser. The button
// is there only while there is something to wait for and a browser that can tell it.
(() => {
  const { toast } = window.stepline;
  const button = document.getElementById("tell-me");
  const name = `tell-${document.getElementById("run").dataset.run}`;
  const head = () => document.getElementById("run-head");
  const past = () => document.querySelector("#past [data-status]");
  const ended = () => (past() || head()).matches("[data-ended], [data-now-ended]");
  const failures = () => Number(document.querySelector('#state-chips [data-state="failed"] b').textContent);
  const DENIED = "This browser does not allow this site to notify you. Its settings for this site can change that.";
  let asked = false;
  let failed = 0; // tasks, when they were last looked at
  const memory = {
    // Without storage a reader is told all the same, as long as the page stays.
    get: () => { try { return localStorage.getItem(name) === "1"; } catch { return asked; } },
    set: (on) => { try { if (on) localStorage.setItem(name, "1"); else localStorage.removeItem(name); } catch { /* as said */ } },
  };

  function show() {
    button.hidden = ended();
    button.setAttribute("aria-pressed", String(asked));
    button.title = Notification.permission === "denied" ? DENIED : "A desktop notification when the run ends, and when a task fails first";
  }

  function tell(title, body) {
    let note;
    try {
      note = new Notification(title, { body, tag: name, renotify: true });
    } catch {
      toast(`${title}. ${body}`); // some browsers allow it to service workers alone
      return;
    }
    note.addEventListener("click", () => {
      window.focus();
      note.close();
    });
  }

  async function flip() {
    if (asked) asked = false;
    else {
      const answer = Notification.permission === "default" ? await Notification.requestPermission() : Notification.permission;
      asked = answer === "granted";
      if (answer === "denied") toast(DENIED);
      if (asked) toast("You will be told when it ends, and when a task fails first");
    }
    memory.set(asked);
    show();
  }

  function look() {
    const { word, title, took } = (past() || head()).dataset;
    if (asked && ended()) {
      tell(`${word}: ${title}`, took ? `It took ${took}.` : "How long it took is not known.");
      asked = false;
      memory.set(false);
    } else if (asked && !past() && failures() > 0 && failed === 0) {
      tell(`A task failed: ${title}`, "The run goes on.");
    }
    if (!past()) failed = failures();
    show();
  }

  if (!("Notification" in window)) return;
  failed = failures();
  if (ended()) memory.set(false);
  asked = memory.get() && Notification.permission === "granted";
  button.addEventListener("click", flip);
  document.addEventListener("run:shown", look);
  show();
})();
