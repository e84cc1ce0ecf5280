// Fronts: what no other run beats at no higher cost.

const SPAN = 10; // points of accuracy below the best run that the front's picture shows at first

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

function drawFrontTable() {
  const shown = columns().filter((column) => column.key !== "status");
  const head = make("tr");
  shown.forEach((column) => head.append(make("th", { className: `${column.text ? "text" : ""} ${column.wide ? "wide" : ""}`, textContent: column.key === "label" ? `on the front of validation ${METRIC.words} against size` : column.title })));
  const body = make("tbody");
  front([...finished(visible()), ...baselines()], "gzip").forEach((run) => body.append(row(run, shown)));
  find("front").replaceChildren(make("thead", {}, head), body);
}
