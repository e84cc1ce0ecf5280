// Every run, a row each.

const columns = () => [
  { key: "label", title: "run", text: true, show: (run) => run.label },
  { key: "technique", title: "technique", text: true, wide: true, show: (run) => run.technique },
  { key: "data", title: "data", text: true, wide: true, show: (run) => run.data },
  { key: "seed", title: "seed", wide: true, show: (run) => run.seed },
  { key: "val", title: `val${UNIT}`, show: (run) => figure(run.val) },
  { key: "test", title: `test${UNIT}`, show: (run) => figure(run.test) },
  { key: "gzip", title: "gzip KB", show: (run) => kilobytes(run.gzip) },
  { key: "smaller", title: "smaller", wide: true, show: (run) => (run.smaller == null ? "" : `${run.smaller.toFixed(1)}x`) },
  ...(DATA.runs.some((run) => run.mce != null) ? [{ key: "mce", title: "test mCE", wide: true, show: (run) => (run.mce == null ? "" : run.mce.toFixed(2)) }] : []),
  { key: "sparsity", title: "sparsity", wide: true, show: (run) => (run.sparsity == null ? "" : run.sparsity.toFixed(3)) },
  { key: "ratio", title: "x latency", wide: true, show: (run) => (run.ratio == null ? "" : run.ratio.toFixed(2)) },
  { key: "latency", title: "µs", wide: true, show: (run) => (run.latency == null ? "" : `${run.latency.toFixed(1)} (${(ownBase(run).latency_us_p50 ?? run.latency).toFixed(1)})`) },
  { key: "status", title: "status", text: true, show: (run) => (run.status === "ok" ? "ok" : `${run.status}: ${run.error || ""}`) },
];

// Of a run, or of a baseline.
function row(run, columns) {
  const made = make("tr", { className: ["ok", "pruned", undefined].includes(run.status) ? "run" : "run failed" });
  columns.forEach((column, index) => {
    const cell = make("td", { className: `${column.text ? "text" : ""} ${column.wide ? "wide" : ""}` });
    if (index === 0) cell.append(make("button", { className: "open", type: "button", textContent: column.show(run) }));
    else cell.textContent = column.show(run);
    made.append(cell);
  });
  made.onclick = () => open(run.id ?? run.run, run.id == null);
  return made;
}

function sorted(runs) {
  const { sort, down } = state;
  const missing = (value) => value == null || value === "";
  return [...runs].sort((a, b) => {
    if (missing(a[sort]) || missing(b[sort])) return missing(a[sort]) - missing(b[sort]);
    const order = typeof a[sort] === "number" ? a[sort] - b[sort] : String(a[sort]).localeCompare(String(b[sort]), undefined, { numeric: true });
    return down ? -order : order;
  });
}

function drawTable() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const matching = visible().filter((run) => words.every((word) => run.words.includes(word)));
  const head = make("tr");
  const shown = columns();
  for (const column of shown) {
    const button = make("button", { type: "button", textContent: column.title });
    const cell = make("th", { className: `${column.text ? "text" : ""} ${column.wide ? "wide" : ""}` }, button);
    if (column.key === state.sort) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    button.onclick = () => {
      state.down = column.key === state.sort ? !state.down : !column.text;
      state.sort = column.key;
      drawTable();
    };
    head.append(cell);
  }
  const body = make("tbody");
  sorted(matching).slice(0, state.rows).forEach((run) => body.append(row(run, shown)));
  find("table").replaceChildren(make("thead", {}, head), body);
  find("count").textContent = `${matching.length} of ${DATA.runs.length} runs`;
  find("more").hidden = matching.length <= state.rows;
}
