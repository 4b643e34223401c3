// Time travel: the page as it stood right after an event. That event stands in the address as ?at= and is told to the
// server with whatever else the reader wants to see; what stood there then comes as one message.
(() => {
  const { rows, shortcut, toast } = window.stepline;
  const PAUSE = 100; // milliseconds between two words to the server, however fast the hand
  const PLAYED_IN = 20; // seconds, the whole run by events
  const LEAST = 2; // events a second
  const CALM = 1000; // milliseconds between two steps for who wants less motion
  const live = document.getElementById("live");
  const form = document.getElementById("ack");
  const bar = document.getElementById("travel");
  const opener = document.getElementById("travel-open");
  const part = (name) => document.getElementById(`travel-${name}`);
  const sync = (name) => document.querySelector(`#sync [name=${name}]`).value;
  const last = () => Number(part("place").max);
  const here = () => (rows.at() === "" ? last() : Number(rows.at()));
  let wanted = rows.at(); // where the reader wants to be: a number, or "" for now
  let pausing = 0;
  let waiting = false; // the server has been asked and has not answered yet

  // --- going there ------------------------------------------------------------------------------------------------

  function go(at) {
    wanted = at === "" ? "" : String(Math.max(0, Math.min(last(), at)));
    if (!pausing) tell();
    show();
  }

  function tell() {
    pausing = 0;
    if (wanted === rows.at()) return;
    form.elements.at.value = wanted;
    const address = new URL(location.href);
    if (wanted === "") address.searchParams.delete("at");
    else address.searchParams.set("at", wanted);
    history.replaceState(null, "", address);
    pausing = setTimeout(tell, PAUSE);
    // Each answer is acknowledged with the place that is wanted by then: no answer is thrown away for a newer question.
    if (!waiting) rows.ask();
    waiting = true;
  }

  function show() {
    const place = part("place");
    const there = sync("shows") !== "";
    place.max = there ? part("where").dataset.last : Math.min(Number(sync("since")), Number(place.dataset.most));
    place.value = wanted === "" ? place.max : wanted;
    const words = part("where").textContent.replace(/\s+/g, " ").trim();
    place.setAttribute("aria-valuetext", wanted === sync("shows") ? words : `Event ${wanted}`);
    part("back").disabled = Number(place.value) === 0;
    part("on").disabled = wanted === "" || Number(place.value) === last();
    for (const button of bar.querySelectorAll("[data-travel=now]")) button.disabled = wanted === "";
    if (wanted !== "") bar.hidden = false;
    opener.hidden = last() === 0 && wanted === "";
    opener.setAttribute("aria-expanded", !bar.hidden);
  }

  function toNow() {
    play(false);
    go("");
  }

  function toggle() {
    if (!bar.hidden) toNow();
    bar.hidden = !bar.hidden;
    show();
    if (!bar.hidden) part("place").focus({ preventScroll: true });
  }

  function step(by) {
    play(false);
    bar.hidden = false;
    go(Number(part("place").value) + by);
  }

  // --- playing ----------------------------------------------------------------------------------------------------

  let playing = null; // {timer, reached: what is played up to, by numbers or by the clock}

  function play(on) {
    clearInterval(playing?.timer);
    playing = null;
    part("play").textContent = on ? "Pause" : "Play";
    part("play").setAttribute("aria-pressed", String(on));
    if (!on) return;
    bar.hidden = false;
    const start = wanted !== "" && here() < last() ? here() : 0;
    go(start);
    const speed = Number(part("speed").value);
    playing = speed ? byClock(start, speed) : byEvents(start);
    const mine = playing;
    let before = performance.now();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    mine.timer = setInterval(() => {
      const now = performance.now();
      const seq = mine.after((now - before) / 1000);
      before = now;
      if (seq !== Number(wanted)) go(seq);
      if (seq >= last()) play(false);
    }, calm ? CALM : PAUSE);
  }

  // Each player gives the event that it has come to after so many seconds more.
  function byEvents(start) {
    const rate = Math.max(LEAST, last() / PLAYED_IN);
    let at = start;
    return { after: (seconds) => Math.floor((at = Math.min(last(), at + rate * seconds))) };
  }

  function byClock(start, speed) {
    let seq = start;
    let clock = null; // the run's own time; stands still until the times of its events are there
    let times = []; // of the events after `seq`
    let fetching = false;

    async function more() {
      fetching = true;
      const first = clock === null ? Math.max(0, seq - 1) : seq + times.length; // the first time is where the clock begins
      const answer = await fetch(`times/?after=${first}`).catch(() => null);
      fetching = false;
      if (!answer?.ok || answer.redirected) {
        toast("The times of the events could not be fetched");
        play(false);
        return;
      }
      const came = (await answer.json()).times;
      if (clock === null && came.length) {
        [clock] = came;
        if (seq > 0) came.shift();
      }
      times.push(...came);
    }

    return {
      after(seconds) {
        if (!fetching && times.length < 500 && seq + times.length < last()) more();
        if (clock !== null) clock += seconds * speed;
        while (times.length && times[0] <= clock) {
          times.shift();
          seq += 1;
        }
        return seq;
      },
    };
  }

  // --- the reader's hand --------------------------------------------------------------------------------------------

  part("place").addEventListener("input", () => {
    play(false);
    go(Number(part("place").value));
  });
  part("back").addEventListener("click", () => step(-1));
  part("on").addEventListener("click", () => step(1));
  part("play").addEventListener("click", () => play(!playing));
  part("speed").addEventListener("change", () => playing && play(true));
  bar.addEventListener("submit", (event) => event.preventDefault());
  opener.addEventListener("click", toggle);
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-travel=now]") || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    toNow();
  });
  shortcut(["t"], "Time travel, and back to now", toggle, () => !opener.hidden);
  shortcut([","], "One event back in time", () => step(-1), () => !opener.hidden);
  shortcut(["."], "One event forward, in the past", () => step(1), () => wanted !== "");
  shortcut(["p"], "Play from here, or pause", () => play(!playing), () => !opener.hidden);

  const answered = () => {
    waiting = rows.at() !== sync("shows");
    show();
  };
  live.addEventListener("htmx:ws:after:connection", answered);
  live.addEventListener("htmx:ws:after:message:incoming", answered);
  if (wanted === "") {
    // An address that named no event of this run shows it as it is now.
    const address = new URL(location.href);
    address.searchParams.delete("at");
    if (address.href !== location.href) history.replaceState(null, "", address);
  }
  show();
})();
