// Every run, a row each.

const look_of = (column) => `${column.text ? "text" : ""} ${column.wide && !state.columns ? "wide" : ""}`;

// Of a run, or of a baseline; `ticked` rows can be compared.
function row(run, columns, ticked = false) {
  const made = make("tr", { className: ["ok", "pruned", undefined].includes(run.status) ? "run" : "run failed" });
  columns.forEach((column, index) => {
    const cell = make("td", { className: look_of(column) });
    if (index === 0) cell.append(...(ticked ? [tick(run)] : []), make("button", { className: "open", type: "button", textContent: column.show(run) }));
    else cell.textContent = column.show(run);
    made.append(cell);
  });
  made.onclick = () => open(run.id ?? run.run, run.id == null);
  return made;
}

function sorted(runs) {
  const { down } = state;
  const field = FIELDS.get(state.sort) ?? FIELDS.get("val");
  const missing = (value) => value == null || value === "";
  const keyed = runs.map((run) => [field.value(run), run]);
  keyed.sort(([a], [b]) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    const order = typeof a === "number" && typeof b === "number" ? a - b : written(a).localeCompare(written(b), undefined, { numeric: true });
    return down ? -order : order;
  });
  return keyed.map(([, run]) => run);
}

// The runs of the table: what is filtered, and found by the search.
function matching() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  return sorted(visible().filter((run) => words.every((word) => run.words.includes(word))));
}

function drawTable() {
  const runs = matching();
  const head = make("tr");
  const shown = columns();
  for (const column of shown) {
    const button = make("button", { type: "button", textContent: column.title });
    const cell = make("th", { className: look_of(column) }, button);
    if (column.key === state.sort) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    button.onclick = () => {
      state.down = column.key === state.sort ? !state.down : !column.text;
      state.sort = column.key;
      redrawn(drawTable);
    };
    head.append(cell);
  }
  const body = make("tbody");
  runs.slice(0, state.rows).forEach((run) => body.append(row(run, shown, true)));
  find("table").replaceChildren(make("thead", {}, head), body);
  find("count").textContent = `${runs.length} of ${DATA.runs.length} runs`;
  find("more").hidden = runs.length <= state.rows;
  if (find("search").value !== state.search) find("search").value = state.search;
}

// The menu of columns: what is ticked is shown.
function drawColumns() {
  const place = find("columns").querySelector("div");
  const chosen = new Set(columns().map((column) => column.key));
  const groups = ["Figures", "Configuration", "Figures on perturbed examples"];
  place.replaceChildren(...groups.flatMap((group) => {
    const own = [...FIELDS.values()].filter((field) => field.group === group && field.key !== "label");
    if (!own.length) return [];
    return [make("fieldset", {}, make("legend", { textContent: group }), ...own.map((field) => {
      const box = make("input", { type: "checkbox", checked: chosen.has(field.key) });
      box.onchange = () => {
        const now = new Set(columns().map((column) => column.key));
        if (box.checked) now.add(field.key);
        else now.delete(field.key);
        state.columns = [...FIELDS.keys()].filter((key) => now.has(key));
        redrawn(drawTable);
      };
      return make("label", {}, box, field.title);
    }))];
  }));
}
