"use strict";
// Draws the report from the data in the page. Whatever comes from a configuration reaches the page as text only:
// textContent for elements, `plain` for Plotly, which reads a little HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#7a3fb0", "#a65628", "#3f7f7f", "#666666"];
const SYMBOLS = ["circle", "square", "triangle-up", "x", "star", "triangle-down", "pentagon", "cross", "hexagon", "hourglass"];
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };
const CURVES = 40; // runs drawn at once
const SPAN = 10; // points of accuracy below the best run that the front's picture shows at first
const PAGE = 100; // rows of the table drawn at once
const PICTURES = 48; // of lost examples drawn at once
const state = { off: new Set(), data: "", split: "val", every: false, sort: "val", down: DATA.metric.higher_is_better, search: "", rows: PAGE, pies: PICTURES };

const find = (id) => document.getElementById(id);
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const percent = (share, digits = 2) => (share == null ? "" : (100 * share).toFixed(digits));
const METRIC = DATA.metric; // what runs are judged by
const UNIT = METRIC.percent ? " %" : "";
const SCALE = METRIC.percent ? 100 : 1;
const figure = (value) => (value == null ? "" : METRIC.percent ? percent(value) : String(+value.toPrecision(4)));
const meritOf = (value) => (value == null ? null : METRIC.higher_is_better ? value : -value);
const kilobytes = (bytes) => (bytes == null ? "" : (bytes / 1000).toFixed(1));
const look = (technique) => {
  const index = DATA.techniques.indexOf(technique);
  return { color: COLOURS[index % COLOURS.length], symbol: SYMBOLS[(index + Math.floor(index / COLOURS.length)) % SYMBOLS.length] };
};

function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const chosen = (item) => !state.off.has(item.technique) && (state.data === "" || item.data === "" || item.data === state.data);
const visible = () => DATA.runs.filter(chosen);
const finished = (runs) => runs.filter((run) => run.status === "ok");
const baselines = () => DATA.baselines.filter((one) => state.data === "" || one.data === state.data);
const ownBase = (run) => ({ ...DATA.baselines[run.baseline]?.metrics, ...run.own }); // of the run's own record
const splitName = () => (state.split === "val" ? "validation" : "test");
const narrow = () => window.innerWidth < 640;

function wrapped(text, width = 48) {
  const lines = [""];
  for (const word of String(text).split(" ")) {
    if ((lines.at(-1) + word).length > width && lines.at(-1)) lines.push("");
    lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word.slice(0, 160);
  }
  return lines.slice(0, 6).map(plain).join("<br>");
}

function layout(x, y, more = {}) {
  const axis = { automargin: true, gridcolor: "#e8ebef", zeroline: false, linecolor: "#9aa4b1", ticks: "outside" };
  return {
    font: { family: "system-ui, DejaVu Sans, sans-serif", size: 12, color: "#1c2430" },
    margin: { l: 52, r: 14, t: 26, b: 46 },
    height: 340,
    hoverlabel: { align: "left", font: { size: 12 } },
    showlegend: false,
    hovermode: "closest",
    paper_bgcolor: "#fff",
    plot_bgcolor: "#fff",
    ...more,
    xaxis: { ...axis, title: { text: plain(x), standoff: 8 }, ...(more.xaxis || {}) },
    yaxis: { ...axis, title: { text: plain(y), standoff: 8 }, ...(more.yaxis || {}) },
  };
}

// A range that holds all values and shows them apart from its ends; also that of a single value, or of equal ones.
function reach(values, [least, most] = [-Infinity, Infinity]) {
  if (!values.length) return {};
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const pad = 0.06 * (high - low) || 0.02 * Math.abs(high) || 1;
  return { range: [Math.max(least, low - pad), Math.min(most, high + pad)] };
}
const PERCENT = [0, 100];

// ---- filters

function drawFilters() {
  const place = find("filters").firstElementChild;
  if (DATA.datasets.length > 1) {
    const select = make("select", { ariaLabel: "Data set", id: "dataset" }); // one at a time: figures of two do not compare
    DATA.datasets.forEach((name) => select.append(make("option", { value: name, textContent: name })));
    state.data = DATA.datasets[0];
    select.onchange = () => { state.data = select.value; draw(); };
    place.append(select);
  }
  for (const technique of DATA.techniques) {
    const dot = make("i");
    dot.style.background = look(technique).color;
    const chip = make("button", { className: "chip", type: "button", ariaPressed: "true" }, dot, technique);
    chip.onclick = () => {
      if (!state.off.delete(technique)) state.off.add(technique);
      chip.ariaPressed = String(!state.off.has(technique));
      draw();
    };
    place.append(chip);
  }
  if (!finished(DATA.runs).length) return;
  const split = make("select", { id: "split", ariaLabel: `${METRIC.words} of` });
  split.append(make("option", { value: "val", textContent: `validation ${METRIC.words}` }), make("option", { value: "test", textContent: `test ${METRIC.words}` }));
  split.onchange = () => { state.split = split.value; draw(); };
  place.append(split);
}

// ---- the fronts

// What no other run beats at no higher cost; `merit` is better when higher.
function front(runs, cost, merit = JUDGED.merit) {
  const both = runs.filter((run) => run[cost] != null && merit(run) != null);
  both.sort((a, b) => a[cost] - b[cost] || merit(b) - merit(a));
  let best = -Infinity;
  return both.filter((run) => merit(run) > best && ((best = merit(run)), true));
}

// A cost that is a ratio compares only runs of one kind of baseline.
const SIZE = { cost: "gzip", scale: 1e-3, title: "size gzip'd, KB", says: (one) => `${kilobytes(one.gzip)} KB`, kind: () => 0 };
const LATENCY = { cost: "ratio", scale: 1, title: "latency at batch 1 over the own baseline's", says: timed, kind: (one) => (one.kind ?? DATA.baselines[one.baseline]?.kind) };
const TITLE = () => `${splitName()} ${METRIC.words}${UNIT && ","}${UNIT}`;
const JUDGED = { title: TITLE, value: (one) => (one[state.split] == null ? null : SCALE * one[state.split]), merit: (run) => meritOf(run.val) };

function timed(one) {
  if (one.run != null) return "a latency of 1: timed beside each run";
  return `${one.ratio.toFixed(2)}x its baseline's latency: ${one.latency.toFixed(1)} beside ${ownBase(one).latency_us_p50.toFixed(1)} µs`;
}

function ticks(values, asked) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const steps = asked ?? (narrow() && high > 20 * low ? [1, 3] : [1, 2, 5]);
  const found = [];
  for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.log10(high) + 1; power++) {
    for (const step of steps) found.push(step * 10 ** power);
  }
  return { tickvals: found, ticktext: found.map((value) => String(+value.toPrecision(2))) };
}

// Runs, baselines and the fronts of `measure` against a cost; where nothing has both, nothing.
function drawFront(id, { cost, scale, title, says: costs, kind }, { title: upward, value, merit, says = () => "" }, axis) {
  const known = (one) => one[cost] != null && value(one) != null;
  const runs = finished(visible()).filter(known);
  const bases = baselines().filter(known);
  find(id).hidden = !runs.length;
  if (!runs.length) return;
  const both = [...runs, ...bases]; // of equals the run is on the front
  const x = (one) => scale * one[cost];
  const about = (one) => `${says(one)}validation ${figure(one.val)}${UNIT}, test ${figure(one.test)}${UNIT}<br>${costs(one)}`;
  const traces = [];
  for (const technique of DATA.techniques) {
    const own = runs.filter((run) => run.technique === technique);
    if (!own.length) continue;
    const { color, symbol } = look(technique);
    traces.push({
      type: "scatter", mode: "markers", name: plain(technique), cliponaxis: false,
      x: own.map(x), y: own.map(value), customdata: own.map((run) => run.id),
      text: own.map((run) => `${wrapped(run.label)}<br>${about(run)}, seed ${run.seed}`),
      hovertemplate: "%{text}<extra></extra>",
      marker: { color, symbol, size: 9, opacity: 0.8, line: { color: "#fff", width: 0.7 } },
    });
  }
  for (const own of merit ? new Set(both.map(kind)) : []) {
    const best = front(both.filter((one) => kind(one) === own), cost, merit);
    traces.push({
      type: "scatter", mode: "lines", name: "front", hoverinfo: "skip",
      x: best.map(x), y: best.map(value), line: { color: "#1c2430", width: 1.5, shape: "linear" },
    });
  }
  traces.push({
    type: "scatter", mode: "markers", name: "baseline", cliponaxis: false,
    x: bases.map(x), y: bases.map(value), customdata: bases.map((one) => one.run),
    text: bases.map((one) => `${wrapped(one.label)}<br>${about(one)}`),
    hovertemplate: "%{text}<extra></extra>",
    marker: { color: "#fff", symbol: "diamond", size: 12, line: { color: "#1c2430", width: 2 } },
  });
  const xs = both.map(x);
  const logarithmic = Math.max(...xs) > 4 * Math.min(...xs);
  const drawn = layout(title, upward(), { xaxis: logarithmic ? logAxis(xs, 1.15) : reach(xs), yaxis: axis(runs.map(value), bases.map(value)) });
  Plotly.react(id, traces, drawn, CONFIG);
  const chart = find(id);
  if (!chart.clickable) {
    chart.on("plotly_click", ({ points: [point] }) => open(point.customdata, point.data?.name === "baseline"));
    chart.clickable = true;
  }
}

const logAxis = (values, pad, steps) => ({ type: "log", ...ticks(values, steps), range: [Math.log10(Math.min(...values) / pad), Math.log10(Math.max(...values) * pad)] });

// The lowest figure that the fronts' pictures show: of accuracies all baselines, and the best run with those near it.
function floor(runs, bases) {
  const lowest = Math.min(...runs);
  if (!METRIC.percent || !METRIC.higher_is_better) return Math.min(...bases, lowest);
  return Math.min(...bases, state.every ? lowest : Math.max(lowest, Math.max(...runs) - SPAN));
}

const nearTheBest = (runs, bases) => reach([floor(runs, bases), Math.max(...runs, ...bases)], METRIC.percent ? PERCENT : undefined);

function drawFronts() {
  const any = finished(visible()).length > 0;
  find("nothing").textContent = any ? "" : finished(DATA.runs).length ? "No run that is finished is chosen above." : "No run was finished; the table of every run says why.";
  for (const part of document.querySelectorAll("#trade-off > :not(h2, #nothing)")) part.hidden = !any;
  if (!any) return;
  find("chosen").textContent = state.split === "val" ? "It is chosen on validation examples." : "It is chosen on validation examples and drawn at its figure on test examples, which is why it can fall.";
  drawFront("size", SIZE, JUDGED, nearTheBest);
  drawFront("latency", LATENCY, JUDGED, nearTheBest);
  const runs = finished(visible()).filter((run) => run.gzip != null && JUDGED.value(run) != null);
  const low = floor(runs.map(JUDGED.value), baselines().map(JUDGED.value));
  const below = runs.filter((run) => JUDGED.value(run) < low).length;
  find("below").textContent = below ? `${below} of ${runs.length} runs lie below the picture` : "";
  find("zoom").hidden = !below && !state.every;
}

const COLUMNS = [
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

function drawFrontTable() {
  const columns = COLUMNS.filter((column) => column.key !== "status");
  const head = make("tr");
  columns.forEach((column) => head.append(make("th", { className: `${column.text ? "text" : ""} ${column.wide ? "wide" : ""}`, textContent: column.key === "label" ? `on the front of validation ${METRIC.words} against size` : column.title })));
  const body = make("tbody");
  front([...finished(visible()), ...baselines()], "gzip").forEach((run) => body.append(row(run, columns)));
  find("front").replaceChildren(make("thead", {}, head), body);
}

// ---- every run

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
  for (const column of COLUMNS) {
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
  sorted(matching).slice(0, state.rows).forEach((run) => body.append(row(run, COLUMNS)));
  find("table").replaceChildren(make("thead", {}, head), body);
  find("count").textContent = `${matching.length} of ${DATA.runs.length} runs`;
  find("more").hidden = matching.length <= state.rows;
}

function facts(title, pairs) {
  const table = make("table");
  table.append(make("thead", {}, make("tr", {}, ...title.map((text, index) => make("th", { className: index ? "" : "text", textContent: text })))));
  const body = make("tbody");
  pairs.forEach((cells) => body.append(make("tr", {}, ...cells.map((text, index) => make("td", { className: index ? "" : "text", textContent: text })))));
  table.append(body);
  return make("div", { className: "scroll" }, table);
}

function open(id, ofBaseline = false) {
  const run = DATA.runs[id];
  const show = (value) => (typeof value === "number" && !Number.isInteger(value) ? String(+value.toPrecision(6)) : String(value ?? ""));
  const base = ownBase(run);
  const place = find("record").lastElementChild;
  const copy = make("button", { className: "button", type: "button", textContent: "Copy" });
  copy.onclick = () => navigator.clipboard.writeText(run.command).then(() => { copy.textContent = "Copied"; });
  place.replaceChildren(
    make("h3", { textContent: ofBaseline ? `The baseline of ${run.label}` : run.label }),
    make("p", { className: "soft", textContent: `${run.status}, ${run.data || "no data"}, seed ${run.seed}, ${run.technique}` }),
    ...(run.error ? [make("p", { className: "error", textContent: run.error })] : []),
    ...(run.reused ? [make("p", { className: "soft", textContent: `taken from ${run.reused}, where it was measured` })] : []),
    make("p", {}, "To run it again: ", copy),
    make("pre", { textContent: run.command }),
    make("p", {}, make("a", { href: run.record, textContent: "result.json" }), " beside this page"),
    ...(Object.keys(run.metrics).length ? [facts(["metric", "run", "baseline"], Object.keys(run.metrics).map((key) => [key, show(run.metrics[key]), show(base[key])]))] : []),
    ...(Object.keys(run.params).length ? [facts(["parameter", "value"], Object.entries(run.params).map(([key, value]) => [key, show(value)]))] : []),
  );
  find("record").showModal();
}

// ---- what each parameter costs

function drawEffects() {
  const place = find("effects").querySelector(".charts");
  find("effects").hidden = !DATA.effects.length;
  if (!place.childElementCount) DATA.effects.forEach((_, index) => place.append(make("div", { className: "chart", id: `effect-${index}` })));
  DATA.effects.forEach((effect, index) => {
    const lines = effect.lines.filter(chosen);
    find(`effect-${index}`).hidden = !lines.length;
    if (!lines.length) return;
    const traces = lines.map((line) => {
      const { color, symbol } = look(line.technique);
      const [means, spreads] = [line.mean[state.split], line.spread[state.split]];
      const several = spreads.some((value) => value != null);
      return {
        type: "scatter", mode: line.joined && line.x.length > 1 ? "lines+markers" : "markers", name: plain(line.labels[0]),
        x: line.x, y: means.map((value) => (value == null ? null : SCALE * value)),
        error_y: several ? { type: "data", array: spreads.map((value) => SCALE * (value || 0)), thickness: 1.2, width: 3, color } : undefined,
        text: means.map((value, at) => `${wrapped(line.labels[at])}<br>${plain(effect.name)} = ${line.x[at]}<br>${splitName()} ${figure(value)}${UNIT}${spreads[at] == null ? "" : ` ± ${figure(spreads[at])}`}, n = ${line.n[at]}`),
        hovertemplate: "%{text}<extra></extra>",
        line: { color, width: 1.4 }, marker: { color, symbol, size: 8, opacity: 0.85 },
      };
    });
    const whole = lines.flatMap((line) => line.x);
    const ends = lines.flatMap((line) => line.mean[state.split].flatMap((value, at) => (value == null ? [] : [-1, 1].map((side) => SCALE * (value + side * (line.spread[state.split][at] || 0))))));
    const discrete = [...new Set(whole)].sort((a, b) => a - b);
    const few = discrete.length <= 12 && discrete.every(Number.isInteger);
    Plotly.react(`effect-${index}`, traces, layout(effect.name, TITLE(), { xaxis: { ...reach(whole), ...(few ? { tickvals: discrete } : {}) }, yaxis: reach(ends, METRIC.percent ? PERCENT : undefined), height: 300 }), CONFIG);
  });
}

// ---- parallel coordinates

function dimension(title, values, logarithmic = false) {
  const known = values.filter((value) => value != null);
  const scaled = (value) => (logarithmic ? Math.log10(value) : value);
  const [low, high] = [Math.min(...known.map(scaled)), Math.max(...known.map(scaled))];
  const reach = high - low || 1;
  const missing = known.length < values.length;
  const off = low - 0.18 * reach; // where runs go that have no such parameter
  const distinct = [...new Set(known)].sort((a, b) => a - b);
  const marks = distinct.length <= 8 ? distinct : [0, 0.25, 0.5, 0.75, 1].map((share) => (logarithmic ? 10 ** (low + share * reach) : low + share * reach));
  return {
    label: plain(title),
    values: values.map((value) => (value == null ? off : scaled(value))),
    range: [missing ? off : low - 0.03 * reach, high + 0.03 * reach],
    tickvals: [...(missing ? [off] : []), ...marks.map(scaled)],
    ticktext: [...(missing ? ["off"] : []), ...marks.map((value) => String(+value.toPrecision(3)))],
  };
}

function drawCoordinates() {
  const runs = finished(visible()).filter((run) => run.gzip && run[state.split] != null);
  const names = DATA.numbers.filter((name) => runs.some((run) => run.params[name] != null));
  find("parallel").hidden = runs.length < 2 || !names.length;
  if (find("parallel").hidden) return;
  find("coloured").textContent = `${splitName()} ${METRIC.words}`;
  const most = Math.max(1, Math.floor(find("coordinates").clientWidth / 105) - 3);
  const last = (name) => name.split(".").pop();
  const title = (name) => (names.filter((other) => last(other) === last(name)).length > 1 ? name : last(name)).replaceAll("_", " ");
  const dimensions = names.slice(0, most).map((name) => dimension(title(name), runs.map((run) => run.params[name] ?? null)));
  dimensions.push(dimension("gzip'd KB", runs.map((run) => run.gzip / 1000), true));
  const accuracies = runs.map((run) => SCALE * run[state.split]);
  dimensions.push(dimension(`${state.split}${UNIT}`, accuracies));
  const ascending = [...accuracies].sort((a, b) => a - b);
  Plotly.react("coordinates", [{
    type: "parcoords", dimensions,
    line: { color: accuracies, colorscale: "Viridis", cmin: ascending[Math.floor(0.1 * ascending.length)], cmax: ascending.at(-1) },
    labelfont: { size: 12 }, tickfont: { size: 11 }, rangefont: { size: 11, color: "rgba(0,0,0,0)" },
  }], { margin: { l: 46, r: 46, t: 56, b: 20 }, height: 340, font: { size: 12 }, paper_bgcolor: "#fff" }, CONFIG);
}

// ---- over seeds

function drawSeeds() {
  const groups = DATA.groups.filter(chosen);
  find("seeds").hidden = !groups.some((group) => group.n > 1);
  if (find("seeds").hidden) return;
  const pm = (mean, spread, scale, digits) => (mean == null ? "" : (scale * mean).toFixed(digits) + (spread == null ? "" : ` ± ${(scale * spread).toFixed(digits)}`));
  const errors = groups.some((group) => group.mce != null);
  const head = ["run", "n", `val${UNIT}`, `test${UNIT}`, "gzip KB", "test over baseline", "95 % interval", ...(errors ? ["test mCE"] : [])];
  const look = (index) => (index === 0 ? "text" : index < 4 ? "" : "wide");
  const body = make("tbody");
  groups.forEach((group) => body.append(make("tr", {}, ...[
    group.label, group.n, pm(group.val, group.val_spread, SCALE, 2), pm(group.test, group.test_spread, SCALE, 2), pm(group.gzip, group.gzip_spread, 1e-3, 2),
    group.difference == null ? "" : `${group.difference > 0 ? "+" : ""}${(100 * group.difference).toFixed(2)}`,
    group.difference == null ? "" : `${(100 * group.low).toFixed(2)} to ${(100 * group.high).toFixed(2)}`,
    ...(errors ? [pm(group.mce, group.mce_spread, 1, 2)] : []),
  ].map((text, index) => make("td", { textContent: text, className: look(index) })))));
  find("seeds").querySelector("table").replaceChildren(
    make("thead", {}, make("tr", {}, ...head.map((text, index) => make("th", { textContent: text, className: look(index) })))), body);
}

// ---- curves, weights, the study

function drawCurves() {
  const runs = visible().filter((run) => run.epochs);
  const names = [...new Set([...runs, ...baselines()].flatMap((run) => Object.keys(run.epochs || {})))].filter((name) => name !== "seconds").sort();
  find("learning").hidden = !names.length;
  if (!names.length) return;
  const select = find("curve");
  const before = select.value || METRIC.validation;
  select.replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
  select.value = names.includes(before) ? before : names[0];
  const name = select.value;
  const own = runs.filter((run) => run.epochs[name]).sort((a, b) => (meritOf(b.val) ?? -Infinity) - (meritOf(a.val) ?? -Infinity));
  find("curves-note").textContent = own.length > CURVES || DATA.curves_left_out ? `the best ${Math.min(own.length, CURVES)} of ${visible().length} runs on validation` : "";
  const line = (values, colour, label, dash) => ({
    type: "scatter", mode: values.length > 1 ? "lines+markers" : "markers", x: values.map((_, epoch) => epoch + 1), y: values,
    text: values.map(() => wrapped(label)), hovertemplate: "%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>",
    line: { color: colour, width: 1.4, dash }, marker: { size: 4, color: colour },
  });
  const longest = Math.max(...[...own, ...baselines()].map((run) => (run.epochs[name] || []).length));
  const traces = [
    ...baselines().filter((one) => one.epochs[name]).map((one) => line(one.epochs[name], "#888", one.label, "dot")),
    ...own.slice(0, CURVES).map((run) => line(run.epochs[name], look(run.technique).color, run.label)),
  ];
  const drawn = known(traces.flatMap((trace) => trace.y));
  Plotly.react("curves", traces, layout("epoch", name, { height: 360, yaxis: reach(drawn), xaxis: { range: [0.5, longest + 0.5], tick0: 1, dtick: Math.ceil(longest / 12) } }), CONFIG);
}

function drawWeights() {
  const select = find("weights-of");
  const known = DATA.weights.filter((one) => chosen(DATA.runs[one.run]));
  find("weights").hidden = !known.length;
  if (!known.length) return;
  const before = select.value;
  select.replaceChildren(...known.map((one) => make("option", { value: one.run, textContent: DATA.runs[one.run].label.slice(0, 90) })));
  if (known.some((one) => String(one.run) === before)) select.value = before;
  const shown = known.find((one) => String(one.run) === select.value);
  const bar = (side, colour, name) => ({ type: "bar", x: shown.histogram.centres, y: shown.histogram[side], name, marker: { color: colour }, opacity: 0.65, hovertemplate: `${name}: %{y} weights at %{x:.3f}<extra></extra>` });
  Plotly.react("histogram", [bar("before", "#9aa4b1", "baseline"), bar("after", look(DATA.runs[shown.run].technique).color, "this run")],
    layout("weight", "how many", { barmode: "overlay", bargap: 0, showlegend: true, legend: { orientation: "h", y: 1.12, x: 0 }, yaxis: { type: "log", tickvals: [1, 10, 100, 1e3, 1e4, 1e5, 1e6], ticktext: ["1", "10", "100", "1,000", "10,000", "100,000", "1,000,000"] } }), CONFIG);
  const pruned = shown.masks.filter((mask) => mask.kept < 1);
  if (!pruned.length) find("masks").textContent = shown.sparsity ? "Its layers are too large to be shown." : "No weight of this run is zero.";
  else find("masks").replaceChildren(...pruned.map((mask) => make("figure", {},
    make("img", { src: mask.picture, alt: `mask of ${mask.layer}`, loading: "lazy" }),
    make("figcaption", { textContent: `${mask.layer}: ${mask.shape}, ${percent(mask.kept, 1)} % kept (dark)` }))));
}

function drawStudy() {
  document.querySelectorAll(".study").forEach((place, index) => {
    const figure = DATA.figures[index];
    Plotly.react(place, figure.data, { ...figure.layout, template: undefined, autosize: true, height: 360, font: { size: 12 }, margin: { l: 60, r: 20, t: 50, b: 60 }, yaxis: { ...figure.layout.yaxis, automargin: true, title: { ...figure.layout.yaxis?.title, standoff: 12 } }, legend: { orientation: "h", y: -0.25 } }, CONFIG);
  });
}

// ---- sections are drawn when they come near the window: a thousand runs open at once

const SECTIONS = {
  "trade-off": () => { drawFronts(); drawFrontTable(); },
  effects: drawEffects,
  parallel: drawCoordinates,
  seeds: drawSeeds,
  mce: drawErrors,
  perturbed: drawPerturbations,
  pies: drawPies,
  runs: drawTable,
  learning: drawCurves,
  weights: drawWeights,
  study: drawStudy,
};
const stale = new Set();
const near = new Set();

function refresh(id) {
  if (stale.delete(id)) SECTIONS[id]();
}

function draw() {
  for (const section of document.querySelectorAll("main section")) {
    if (!SECTIONS[section.id]) continue;
    section.hidden = false; // what has nothing to show hides itself when it is drawn
    stale.add(section.id);
  }
  near.forEach(refresh);
}

function drawEverything() {
  [...stale].forEach(refresh);
}

const MARGIN = 150; // px
const observer = new IntersectionObserver((entries) => {
  for (const { target } of entries) {
    const box = target.getBoundingClientRect(); // as it is now: those before it may have grown
    if (box.top < window.innerHeight + MARGIN && box.bottom > -MARGIN) {
      near.add(target.id);
      refresh(target.id);
    } else near.delete(target.id);
  }
}, { rootMargin: `${MARGIN}px`, threshold: [0, 0.01] });
window.addEventListener("beforeprint", drawEverything);

find("zoom").onclick = () => {
  state.every = !state.every;
  find("zoom").ariaPressed = String(state.every);
  find("zoom").textContent = state.every ? "Show the front" : "Show every run";
  drawFronts();
};
find("search").oninput = (event) => { state.search = event.target.value; state.rows = PAGE; drawTable(); };
find("more").onclick = () => { state.rows += PAGE; drawTable(); };
find("curve").onchange = drawCurves;
find("weights-of").onchange = drawWeights;
find("against").onchange = drawErrors;
for (const id of ["perturbed-set", "perturbed-severity", "perturbed-shown"]) find(id).onchange = drawPerturbations;
find("pies-of").onchange = () => { state.pies = PICTURES; drawPies(); };
find("more-pies").onclick = () => { state.pies += PICTURES; drawPies(); };
find("record").querySelector(".close").onclick = () => find("record").close();
let resizing;
window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(draw, 200); });
drawFilters();
near.add("trade-off");
draw();
document.body.dataset.drawn = "true";
requestAnimationFrame(() => setTimeout(() => document.querySelectorAll("main section").forEach((section) => observer.observe(section))));
