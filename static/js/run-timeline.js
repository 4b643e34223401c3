// The timeline's clock, axis and zoom. Bars are drawn in seconds since the run's start, idle stretches left out where
// the reader wants that, and a running bar reaches the right edge; so only the part that is shown has to move on.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const STEPS = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400,
    43200, 86400,
  ];
  const LEAST = 0.005; // seconds that can be shown
  const TEXT = 80; // pixels that a tick wants
  let length = 0; // seconds of the run
  let shown = "";
  let drawn = "";
  let width = 0; // pixels of the axis, told when it changes and never asked for
  let observed = null; // the axis of which it is told
  let brush = null; // {from, to} in pixels while the reader drags over the axis

  const list = () => document.getElementById("rows");
  const pairs = (text) => (text || "").split(",").filter(Boolean).map((one) => one.split("-").map(Number));
  const hidden = () => (Number(list()?.dataset.hidden) ? pairs(list().dataset.idle) : []);
  const squeeze = (x) => hidden().reduce((at, [a, b]) => at - Math.max(0, Math.min(x, b) - a), x);
  const stretch = (x) => hidden().reduce((at, [a, b]) => (at >= a ? at + (b - a) : at), x);

  function zoom() {
    const query = new URLSearchParams(location.search);
    const [from, to] = ["from", "to"].map((name) => (query.has(name) ? Number(query.get(name)) : NaN));
    return to > from && from >= 0 ? [from, to] : null;
  }

  // The part in sight, in seconds on the squeezed timeline.
  const part = () => (zoom() || [0, length]).map(squeeze);

  function show(from, to) {
    const address = new URL(location.href);
    const whole = to - from >= length * 0.999;
    for (const [name, value] of [["from", from], ["to", to]]) {
      if (whole) address.searchParams.delete(name);
      else address.searchParams.set(name, +Math.max(0, value).toFixed(3));
    }
    history.replaceState(null, "", address);
    draw(true);
  }

  // Show `factor` times as much, around the place that lies this share of the width to the right.
  function scale(factor, share = 0.5) {
    const [a, b] = part();
    const wide = Math.max(LEAST, (b - a) * factor);
    const whole = squeeze(length);
    const from = Math.max(0, Math.min(whole - wide, a + (b - a) * share - wide * share));
    show(stretch(from), stretch(Math.min(whole, from + wide)));
  }

  function label(s, step) {
    const digits = step < 0.01 ? 3 : step < 0.1 ? 2 : 1;
    if (s < 60) return `${+s.toFixed(digits)} s`;
    if (s < 3600) return s % 60 ? `${Math.floor(s / 60)} m ${+(s % 60).toFixed(digits)} s` : `${s / 60} m`;
    return s % 3600 ? `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} m` : `${s / 3600} h`;
  }

  function made(name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const key of Object.keys(attributes)) element.setAttribute(key, attributes[key]);
    if (text) element.textContent = text;
    return element;
  }

  const sizes = new ResizeObserver(() => {
    const lines = document.getElementById("lines");
    if (!observed?.isConnected || !lines) return;
    width = observed.clientWidth;
    const sheet = lines.parentElement;
    lines.style.left = `${observed.getBoundingClientRect().left - sheet.getBoundingClientRect().left - sheet.clientLeft}px`;
    lines.style.width = `${width}px`;
    axis();
  });

  function observe(svg) {
    sizes.disconnect();
    observed = svg;
    width = 0;
    drawn = ""; // a new one is empty
    if (svg) sizes.observe(svg);
  }

  function axis() {
    const svg = document.getElementById("axis");
    if (svg !== observed) observe(svg);
    const [a, b] = part();
    const key = `${a.toFixed(3)} ${b.toFixed(3)} ${width} ${list()?.dataset.idle} ${hidden().length} ${brush?.from} ${brush?.to}`;
    if (!width || key === drawn) return;
    drawn = key;
    const most = Math.max(2, Math.floor(width / TEXT));
    const step = STEPS.find((one) => (b - a) / one <= most) || Math.ceil((b - a) / most / 86400) * 86400;
    const marks = [];
    const place = (seconds) => ((squeeze(seconds) - a) / (b - a)) * width;
    let free = -Infinity;
    for (let n = Math.ceil(stretch(a) / step - 1e-9); n * step <= stretch(b) + 1e-9 && marks.length < 200; n += 1) {
      const seconds = n * step;
      const x = place(seconds);
      if (hidden().some(([from, to]) => seconds > from && seconds < to)) continue;
      marks.push(made("line", { x1: x, x2: x, y1: 16, y2: 22 }));
      if (x < free || (x + 34 > width && marks.length > 1)) continue;
      free = x + TEXT * 0.6;
      marks.push(made("text", { x: x + 3, y: 13 }, label(seconds, step)));
    }
    for (const [from] of hidden()) marks.push(made("path", { class: "cut", d: `M${place(from) - 3} 22l6 -14` }));
    if (brush) {
      const x = Math.min(brush.from, brush.to);
      marks.push(made("rect", { class: "brush", x, width: Math.abs(brush.to - brush.from), height: 22 }));
    }
    svg.replaceChildren(...marks);
    const lines = document.getElementById("lines");
    lines.style.backgroundSize = `${hidden().length ? "100%" : `${(step / (b - a)) * width}px`} 100%`;
    lines.style.backgroundPositionX = `${place(Math.floor(a / step) * step)}px`;
  }

  function draw(again) {
    const head = document.getElementById("run-head");
    if (!head || !list()) return;
    const still = document.body.hasAttribute("data-still");
    const told = Number(head.dataset.length);
    if (head.matches("[data-ended], [data-past]")) length = told;
    else length = still ? Math.max(length, told) : Math.max(0.5, window.stepline.now() - Number(head.dataset.start));
    const [a, b] = part();
    const box = `${a.toFixed(3)} 0 ${Math.max(LEAST, b - a).toFixed(3)} 16`;
    if (box !== shown || again) {
      shown = box;
      for (const bar of document.querySelectorAll("#rows .bar")) {
        if (bar.getAttribute("viewBox") !== box) bar.setAttribute("viewBox", box);
      }
      document.getElementById("zoom-all").disabled = !zoom();
      document.getElementById("zoom-out").disabled = !zoom();
    }
    axis();
  }

  // --- the reader's hand ----------------------------------------------------------------------------------------

  const within = (event) => {
    const rect = document.getElementById("axis").getBoundingClientRect();
    return { x: Math.max(0, Math.min(rect.width, event.clientX - rect.left)), width: rect.width };
  };
  document.addEventListener("pointerdown", (event) => {
    if (event.button || !event.target.closest(".axis svg")) return;
    const { x } = within(event);
    brush = { from: x, to: x };
    event.preventDefault();
  });
  document.addEventListener("pointermove", (event) => {
    if (!brush) return;
    brush.to = within(event).x;
    axis();
  });
  document.addEventListener("pointerup", (event) => {
    if (!brush) return;
    const { width } = within(event);
    const [from, to] = [Math.min(brush.from, brush.to), Math.max(brush.from, brush.to)];
    const [a, b] = part();
    brush = null;
    if (to - from > 4) show(stretch(a + (from / width) * (b - a)), stretch(a + (to / width) * (b - a)));
    else axis();
  });
  document.addEventListener("dblclick", (event) => event.target.closest(".axis") && show(0, length));
  document.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey || !event.target.closest("#rows-box")) return;
      event.preventDefault();
      const { x, width } = within(event);
      scale(event.deltaY > 0 ? 1.25 : 0.8, x / width);
    },
    { passive: false },
  );
  document.addEventListener("click", (event) => {
    if (event.target.closest("#zoom-in")) scale(0.5);
    if (event.target.closest("#zoom-out")) scale(2);
    if (event.target.closest("#zoom-all")) show(0, length);
  });
  window.stepline.shortcut(["+", "="], "Zoom in", () => scale(0.5));
  window.stepline.shortcut(["-"], "Zoom out", () => scale(2));
  window.stepline.shortcut(["0"], "The whole run", () => show(0, length));

  setInterval(() => document.hidden || draw(false), 250);
  addEventListener("resize", () => draw(true));
  document.addEventListener("run:shown", () => draw(true));
  draw(true);
})();
