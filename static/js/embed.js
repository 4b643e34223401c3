// A run within a page of another site: what its connection does, and bars and times that stand still without one.
(() => {
  const live = document.getElementById("live");
  let state = "connecting";

  function show(text) {
    const chip = document.getElementById("browser-link");
    const card = document.getElementById("card");
    chip.dataset.state = text === "Ended" ? "closed" : state;
    chip.querySelector("b").textContent = text;
    const still = state !== "live" || !["live", "connecting", "waiting"].includes(card.dataset.upstream);
    document.body.toggleAttribute("data-still", still);
    card.querySelector("[data-since]")?.toggleAttribute("data-frozen", still);
  }

  const words = () => (document.getElementById("card").matches("[data-ended]") ? "Ended" : "Live");

  live.addEventListener("htmx:ws:after:connection", () => {
    state = "live";
    show(words());
  });
  live.addEventListener("htmx:ws:after:message:incoming", () => show(words()));
  live.addEventListener("htmx:ws:close", (event) => {
    const code = event.detail?.code;
    if (code === 4401) {
      location.reload(); // the link shows nothing any more, and the page says so
      return;
    }
    state = code >= 4000 ? "closed" : "reconnecting";
    show(code >= 4000 ? "Closed" : "Reconnecting");
  });
})();
