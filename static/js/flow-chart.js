// The durations of a flow's last runs. The library comes only where there is something to draw.
(() => {
  const HEIGHT = 116;
  let library = null;
  let chart = null;
  let drawn = null;

  function load({ library: source, style }) {
    const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: style });
    const script = Object.assign(document.createElement("script"), { src: source });
    document.head.append(sheet, script);
    return new Promise((done, failed) => {
      script.onload = done;
      script.onerror = failed;
    });
  }

  const colour = (name) => {
    const probe = document.createElement("i");
    probe.className = `chart-${name}`;
    drawn.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };

  function paint(box) {
    const { at, succeeded, failed, runs } = JSON.parse(box.dataset.points);
    const short = (seconds) => (seconds === 0 ? "0" : window.stepline.duration(seconds, false).replace(/ 00 [sm]$/, "").replace(".0 s", " s"));
    const place = at.map((_, index) => index);
    const dots = (label, name, shape) => ({
      label,
      stroke: colour(name),
      paths: () => null,
      points: { show: true, size: 7, stroke: colour(name), fill: shape === "full" ? colour(name) : colour("ground"), width: 1.6 },
      value: (_, seconds) => (seconds == null ? "–" : short(seconds)),
    });
    const axis = { stroke: colour("words"), font: "12px system-ui", grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    chart = new uPlot(
      {
        width: box.clientWidth,
        height: HEIGHT,
        cursor: { drag: { x: false, y: false }, y: false },
        scales: { x: { time: false, range: (_, low, high) => [low - 0.5, high + 0.5] }, y: { range: (_, low, high) => [0, high * 1.1 || 1] } },
        axes: [
          { ...axis, show: false },
          { ...axis, size: 64, values: (_, splits) => splits.map(short) },
        ],
        series: [
          { label: "Launched", value: (_, index) => (index == null ? "–" : new Date(at[index] * 1000).toLocaleString()) },
          dots("Succeeded", "succeeded", "full"),
          dots("Failed", "failed", "ring"),
        ],
      },
      [place, succeeded, failed],
      box,
    );
    chart.over.addEventListener("click", () => {
      const index = chart.cursor.idx;
      if (index != null && chart.cursor.left >= 0) location.assign(box.dataset.run.replace("0", runs[index]));
    });
  }

  async function draw() {
    const box = document.getElementById("flow-chart");
    chart?.destroy();
    chart = null;
    drawn = box;
    if (!box) return;
    try {
      await (library ??= load(box.dataset));
    } catch {
      library = null; // The figures above say the same in short.
      return;
    }
    if (drawn === box && !chart) paint(box);
  }

  document.addEventListener("runs:drawn", draw);
  addEventListener("resize", () => chart?.setSize({ width: drawn.clientWidth, height: HEIGHT }));
  const again = () => drawn && draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  draw();
})();
