// The toolbar: text and states narrow the rows that are shown. What is chosen stands in the address.
(() => {
  const asked = new URLSearchParams(location.search);
  const states = new Set((asked.get("state") || "").split(",").filter(Boolean));

  function apply() {
    const field = document.getElementById("find-task");
    if (!field) return;
    const words = field.value.trim().toLowerCase();
    const counts = {};
    let fitting = 0;
    let all = 0;
    for (const row of document.querySelectorAll("#rows > li")) {
      const { state, name } = row.dataset;
      counts[state] = (counts[state] || 0) + 1;
      const fits = (!states.size || states.has(state)) && (!words || name.toLowerCase().includes(words));
      if (row.hidden === fits) row.hidden = !fits;
      fitting += fits;
      all += 1;
    }
    for (const chip of document.querySelectorAll("#state-chips > .chip")) {
      const { state } = chip.dataset;
      chip.hidden = !counts[state] && !states.has(state);
      chip.setAttribute("aria-pressed", states.has(state));
      chip.querySelector("b").textContent = counts[state] || 0;
    }
    document.getElementById("none-fit").hidden = !all || fitting > 0;
  }

  function remember() {
    const address = new URL(location.href);
    const words = document.getElementById("find-task").value.trim();
    for (const [name, value] of [["find", words], ["state", [...states].join(",")]]) {
      if (value) address.searchParams.set(name, value);
      else address.searchParams.delete(name);
    }
    history.replaceState(null, "", address);
    apply();
  }

  document.addEventListener("input", (event) => event.target.id === "find-task" && remember());
  document.addEventListener("click", (event) => {
    const chip = event.target.closest("#state-chips > .chip");
    if (chip) {
      const { state } = chip.dataset;
      if (!states.delete(state)) states.add(state);
      remember();
    }
    if (event.target.closest("#clear-filter")) {
      states.clear();
      document.getElementById("find-task").value = "";
      remember();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    document.getElementById("find-task").focus();
  });
  document.addEventListener("run:shown", apply);
  document.getElementById("find-task").value = asked.get("find") || "";
  apply();
})();
