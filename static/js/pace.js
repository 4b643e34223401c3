// What the server says of progress and time left (runs/templatetags/pace.py), going on between its messages: percent,
// `about 1 m 40 s left`, overrunning tasks. Stands still while the page or Stepline has no connection.
(() => {
  const two = (n) => String(n).padStart(2, "0");
  const half = (n) => Math.floor(n + 0.5);

  function rounded(seconds) {
    if (seconds < 57.5) return `${Math.max(5, half(seconds / 5) * 5)} s`;
    if (seconds < 595) {
      const whole = half(seconds / 10) * 10;
      return whole % 60 ? `${Math.floor(whole / 60)} m ${whole % 60} s` : `${whole / 60} m`;
    }
    const minutes = half(seconds / 60);
    if (minutes < 60) return `${minutes} m`;
    if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} m`;
    return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
  }

  function left(low, high) {
    if (high < 10) return "a few seconds left";
    if (high - low <= Math.max(5, high / 4)) return `about ${rounded(low)} left`;
    const [unit, size, step] =
      high >= 172800 ? ["d", 86400, 1] : high >= 7200 ? ["h", 3600, 1] : high >= 120 || low >= 60 ? ["m", 60, 1] : ["s", 1, 5];
    const [least, most] = [Math.floor(low / size / step) * step, Math.ceil(high / size / step) * step];
    return least ? `about ${least}–${most} ${unit} left` : `under ${most} ${unit} left`;
  }

  function coarse(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    if (whole < 60) return `${whole} s`;
    return whole < 3600 ? `${Math.floor(whole / 60)} m` : `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} m`;
  }

  function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // An empty attribute is a number that nobody knows.
  const number = (text) => (text ? Number(text) : null);

  function run(element, now) {
    const data = element.dataset;
    const [lowAt, highAt, overAt] = [number(data.lowAt), number(data.highAt), number(data.overAt)];
    const over = overAt !== null && now >= overAt;
    const words = [];
    if (lowAt !== null) {
      const low = Math.max(0, Number(data.lowRest), lowAt - now);
      const high = Math.max(low, Number(data.highRest), highAt - now);
      if (!over || !("brief" in data || high < 10)) words.push(left(low, high));
    }
    if (over) words.push("overrunning");
    element.hidden = !words.length;
    element.classList.toggle("over", over);
    say(element.querySelector(".left"), words.join(", "));
  }

  function task(element, now) {
    const { began, overAt, quietAt, usual } = element.dataset;
    const quiet = now >= Number(quietAt);
    element.hidden = now < Number(overAt);
    element.classList.toggle("quiet", quiet);
    const silence = () => `no word for ${coarse(now - Number(began))}; usually done in ${usual}`;
    say(element.querySelector(".words"), quiet ? silence() : element.hidden ? "" : "overrunning");
  }

  function tick() {
    if (document.hidden || document.body.hasAttribute("data-still")) return;
    const now = window.stepline.now();
    const going = (selector, move) => {
      for (const element of document.querySelectorAll(selector)) if (!element.closest("[data-frozen]")) move(element, now);
    };
    going("[data-low-at]", run);
    going("[data-quiet-at]", task);
    going("[data-rate]", (element) => {
      const { fraction, at, rate, most } = element.dataset;
      const grown = Math.min(Number(most), Number(fraction) + Number(rate) * Math.max(0, now - Number(at)));
      say(element, `${Math.floor(100 * Math.max(Number(fraction), grown) + 1e-9)} %`);
    });
  }

  setInterval(tick, 500);
  window.stepline.left = left;
})();
