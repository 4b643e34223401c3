// The two sides of a launch, form and JSON: what was typed on one stands on the other after a switch. A secret that was
// left alone stays masked in the JSON. Also: a link that prefills this form, and a fresh name at a press.
(() => {
  const form = document.getElementById("launch");
  const json = form.elements.inputs;
  const fields = [...form.querySelectorAll("[data-input]")];
  const secret = (field) => field.type === "password";
  const isJSON = (field) => field.classList.contains("code");
  const parse = (text) => {
    try {
      return JSON.parse(text);
    } catch {
      return undefined;
    }
  };

  // What has no default and is left empty is not sent, so it has no place in the JSON either.
  const left = (field) => "optional" in field.dataset && field.value === "";

  function valueOf(field, before) {
    if (field.tagName === "SELECT") return "json" in field.dataset ? parse(field.value) : field.value;
    if (field.type === "checkbox") return field.checked;
    if (secret(field)) return field.value === "" ? before : field.value;
    if (isJSON(field) || field.inputMode === "decimal") {
      const value = parse(field.value);
      return value === undefined ? field.value : value;
    }
    return field.value === "" && before === null ? null : field.value;
  }

  // Integers that a double cannot hold would change on the way through JSON.parse: then the sides are left as they are.
  const exact = (text) => !/(^|[^\w."])-?\d{16,}/.test(text);

  function toJSON() {
    const all = parse(json.value) ?? {};
    if (!exact(json.value) || fields.some((field) => !secret(field) && exact(field.value) === false)) return;
    for (const field of fields) {
      const name = field.dataset.input;
      if (left(field)) delete all[name];
      else all[name] = valueOf(field, all[name]);
    }
    json.value = JSON.stringify(all, null, 2);
  }

  function toForm() {
    const all = parse(json.value);
    if (all === undefined || all === null || typeof all !== "object" || !exact(json.value)) return;
    for (const field of fields) {
      const value = all[field.dataset.input];
      if (value === undefined) {
        if ("optional" in field.dataset) field.value = "";
        continue;
      }
      if (field.tagName === "SELECT") choose(field, "json" in field.dataset ? JSON.stringify(value) : String(value));
      else if (field.type === "checkbox") field.checked = value === true;
      else if (secret(field)) field.value = /^\[masked:[a-z-]+#[0-9a-f]+\]$/.test(value) ? "" : value;
      else if (isJSON(field)) field.value = JSON.stringify(value, null, 2);
      else field.value = value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    }
  }

  // A value that the list does not have leaves the choice as it is.
  function choose(field, code) {
    if ([...field.options].some((option) => option.value === code)) field.value = code;
  }

  form.addEventListener("change", (event) => {
    if (event.target.name === "mode") (event.target.value === "json" ? toJSON : toForm)();
  });

  for (const button of form.querySelectorAll("[data-fill]")) {
    button.addEventListener("click", () => {
      const field = document.querySelector(button.dataset.fill);
      field.value = button.dataset.value;
      field.focus();
    });
  }

  const link = document.getElementById("link-to-form");
  const remember = () => {
    const here = new URL(location.href);
    const kept = ["workflow", "flow", "upstream"].filter((name) => here.searchParams.has(name)).map((name) => [name, here.searchParams.get(name)]);
    const typed = fields.filter((field) => !secret(field) && !left(field)).map((field) => [field.name, field.type === "checkbox" ? String(field.checked) : field.value]);
    here.search = new URLSearchParams([...kept, ...typed]);
    link.dataset.copy = here.href;
  };
  link.hidden = false;
  form.addEventListener("input", remember);
  remember();
})();
