// The definition's editor: shows the line, goes to the line of a mistake or of a task in the graph, formats at a press.
// Tab keeps leaving the field, so that the keyboard is not caught in it.
(() => {
  const area = document.getElementById("id_definition");
  const place = document.getElementById("editor-place");
  const format = document.getElementById("editor-format");

  function show() {
    const before = area.value.slice(0, area.selectionStart);
    const line = before.split("\n").length;
    place.textContent = `Line ${line}, column ${before.length - before.lastIndexOf("\n")}`;
  }
  document.addEventListener("selectionchange", () => document.activeElement === area && show());

  function goTo(line) {
    const lines = area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
    const height = parseFloat(getComputedStyle(area).lineHeight);
    area.scrollTop = Math.max(0, (line - 4) * height);
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-line]");
    if (!link) return;
    event.preventDefault();
    area.scrollIntoView({ block: "nearest" });
    goTo(Number(link.dataset.line));
  });

  format.hidden = false;
  format.addEventListener("click", () => {
    // Large integers would change on their way through a double, and so is text that is no JSON left alone.
    if (/(^|[^\w."])-?\d{16,}/.test(area.value)) return window.stepline?.toast("Holds integers that a browser cannot keep; format it elsewhere");
    try {
      area.value = JSON.stringify(JSON.parse(area.value), null, 2);
      area.dispatchEvent(new Event("input", { bubbles: true }));
    } catch (error) {
      window.stepline?.toast(`Not JSON yet: ${error.message}`);
    }
  });
})();
