// The timeline's clock. Bars are drawn in seconds since the run's start, and a running bar reaches the right edge;
// so only the number of seconds shown has to move on while the run does.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
  let shown = 0;
  let drawn = "";

  function label(s) {
    if (s < 60) return `${+s.toFixed(1)} s`;
    if (s < 3600) return s % 60 ? `${Math.floor(s / 60)} m ${s % 60} s` : `${s / 60} m`;
    return s % 3600 ? `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} m` : `${s / 3600} h`;
  }

  function axis(length) {
    const svg = document.getElementById("axis");
    const width = svg?.clientWidth || 0;
    const key = `${length.toFixed(2)} ${width}`;
    if (!width || key === drawn) return;
    drawn = key;
    const most = Math.max(2, Math.floor(width / 80));
    const step = STEPS.find((one) => length / one <= most) || Math.ceil(length / most / 86400) * 86400;
    document.getElementById("rows").style.setProperty("--tick", `${(step / length) * 100}%`);
    const marks = [];
    for (let at = 0; at <= length; at += step) {
      const x = (at / length) * width;
      const line = document.createElementNS(SVG, "line");
      for (const [name, value] of [["x1", x], ["x2", x], ["y1", 16], ["y2", 22]]) line.setAttribute(name, value);
      const text = document.createElementNS(SVG, "text");
      text.setAttribute("x", x + 3);
      text.setAttribute("y", 13);
      text.textContent = label(at);
      if (x + 34 <= width || at === 0) marks.push(line, text);
    }
    svg.replaceChildren(...marks);
  }

  function draw(again) {
    const head = document.getElementById("run-head");
    if (!head) return;
    const start = Number(head.dataset.start);
    const still = document.body.hasAttribute("data-still");
    let length = Number(head.dataset.length);
    if (!("ended" in head.dataset)) length = still ? Math.max(shown, length) : Math.max(0.5, window.stepline.now() - start);
    if (length !== shown || again) {
      shown = length;
      const box = `0 0 ${length.toFixed(3)} 16`;
      for (const bar of document.querySelectorAll("#rows .bar")) bar.setAttribute("viewBox", box);
    }
    axis(length);
  }

  setInterval(() => document.hidden || draw(false), 250);
  addEventListener("resize", () => draw(true));
  document.addEventListener("run:shown", () => draw(true));
  draw(true);
})();
