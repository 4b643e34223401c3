// Chooses the colours before the page is painted, and lets the button of the header go through system, light, dark.
(() => {
  const root = document.documentElement;
  const names = { auto: "as the system", light: "light", dark: "dark" };
  const read = () => {
    try {
      return localStorage.getItem("theme") || "auto";
    } catch {
      return "auto";
    }
  };
  const show = (theme) => {
    if (theme === "auto") root.removeAttribute("data-theme");
    else root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (!button) return;
    button.setAttribute("aria-label", "Colours: " + names[theme]);
    button.title = "Colours: " + names[theme];
    button.firstElementChild.className = "icon i-" + theme;
  };
  show(read());
  addEventListener("storage", (event) => event.key === "theme" && show(read()));
  document.addEventListener("DOMContentLoaded", () => {
    show(read());
    document.getElementById("theme")?.addEventListener("click", () => {
      const order = ["auto", "light", "dark"];
      const next = order[(order.indexOf(read()) + 1) % order.length];
      try {
        localStorage.setItem("theme", next);
      } catch {
        // Without storage the choice lasts as long as the page.
      }
      show(next);
    });
  });
})();
