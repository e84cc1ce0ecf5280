// Fronts: what no other run beats at no higher cost, on validation examples.

const SPAN = 10; // points of accuracy below the best run that the front's picture shows at first

// `cost` and `merit` are functions of a run; `merit` is better when higher.
function front(runs, cost, merit = JUDGED.merit) {
  const both = runs.filter((run) => cost(run) != null && merit(run) != null);
  both.sort((a, b) => cost(a) - cost(b) || merit(b) - merit(a));
  let best = -Infinity;
  return both.filter((run) => merit(run) > best && ((best = merit(run)), true));
}

// A cost by its field's key. One that is a ratio compares only runs of one kind of baseline; one of test examples chooses
// nothing, so it has no front.
function costOf(key) {
  const field = FIELDS.get(key);
  const says = key === "ratio" ? timed : key === "gzip" ? (one) => `${kilobytes(one.gzip)} KB` : (one) => `${field.axis}: ${brief(displayed(field, one))}`;
  return {
    key, title: field.axis, says, field, chooses: key !== "mce",
    at: (one) => field.value(one), x: (one) => displayed(field, one),
    kind: key === "ratio" ? (one) => one.kind ?? DATA.baselines[one.baseline]?.kind : () => 0,
  };
}

const TITLE = () => `${splitName()} ${METRIC.words}${UNIT && ","}${UNIT}`;
const JUDGED = { title: TITLE, field: () => state.split, value: (one) => (one[state.split] == null ? null : SCALE * one[state.split]), merit: (run) => meritOf(run.val) };

function timed(one) {
  if (one.run != null) return "a latency of 1: timed beside each run";
  const own = ownBase(one).latency_us_p50;
  return `${one.ratio.toFixed(2)}x its baseline's latency${one.latency == null || own == null ? "" : `: ${one.latency.toFixed(1)} beside ${own.toFixed(1)} µs`}`;
}

// Runs, baselines and the fronts of `measure` against a cost; where nothing has both, nothing.
function drawFront(id, cost, { title: upward, field, value, merit, says = () => "" }, axis) {
  const measured = (one) => cost.x(one) != null && value(one) != null;
  const runs = finished(visible()).filter(measured);
  const bases = baselines().filter(measured);
  find(id).hidden = !runs.length;
  if (!runs.length) return;
  const both = [...runs, ...bases]; // of equals the run is on the front
  const about = (one) => `${says(one)}validation ${figure(one.val)}${UNIT}, test ${figure(one.test)}${UNIT}<br>${plain(cost.says(one))}`;
  const paint = colours();
  const traces = [];
  for (const technique of DATA.techniques) {
    const own = runs.filter((run) => run.technique === technique);
    if (!own.length) continue;
    traces.push({
      type: scatterOf(runs), mode: "markers", name: plain(technique), cliponaxis: false,
      x: own.map(cost.x), y: own.map(value), customdata: own.map((run) => run.id),
      text: own.map((run) => `${wrapped(run.label)}<br>${about(run)}, seed ${run.seed}${paint.field ? `<br>${plain(paint.field.title)}: ${plain(paint.field.show(run))}` : ""}`),
      hovertemplate: "%{text}<extra></extra>",
      marker: { color: paint.field ? own.map(paint.of) : look(technique).color, symbol: look(technique).symbol, size: 9, opacity: 0.85, line: { color: colour("ground"), width: 0.7 } },
    });
  }
  for (const own of merit && cost.chooses ? new Set(both.map(cost.kind)) : []) {
    const best = front(both.filter((one) => cost.kind(one) === own), cost.at, merit);
    traces.push({
      type: "scatter", mode: "lines", name: "front", hoverinfo: "skip",
      x: best.map(cost.x), y: best.map(value), line: { color: colour("ink"), width: 1.5, shape: "linear" },
    });
  }
  traces.push({
    type: "scatter", mode: "markers", name: "baseline", cliponaxis: false,
    x: bases.map(cost.x), y: bases.map(value), customdata: bases.map((one) => one.run),
    text: bases.map((one) => `${wrapped(one.label)}<br>${about(one)}`),
    hovertemplate: "%{text}<extra></extra>",
    marker: { color: colour("ground"), symbol: "diamond", size: 12, line: { color: colour("ink"), width: 2 } },
  });
  traces.push(...recommendedMarks(cost.x, value));
  const xs = both.map(cost.x);
  const logarithmic = smallest(xs) > 0 && largest(xs) > 4 * smallest(xs);
  const drawn = layout(cost.title, upward(), { xaxis: logarithmic ? logAxis(xs, 1.15) : reach(xs), yaxis: axis(runs.map(value), bases.map(value)), ...BOX() });
  plot(id, traces, drawn, `${upward()} against ${cost.title}`);
  brushable(id, cost.key, field);
  const chart = find(id);
  if (!chart.clickable) {
    chart.on("plotly_click", ({ points: [point] }) => point.customdata != null && open(point.customdata, point.data?.name === "baseline"));
    chart.clickable = true;
  }
}

// The lowest figure that the fronts' pictures show: of accuracies all baselines, and the best run with those near it.
function floor(runs, bases) {
  const lowest = smallest(runs);
  if (!METRIC.percent || !METRIC.higher_is_better) return Math.min(smallest(bases), lowest);
  return Math.min(smallest(bases), state.every ? lowest : Math.max(lowest, largest(runs) - SPAN));
}

const nearTheBest = (runs, bases) => reach([floor(runs, bases), largest([...runs, ...bases])], METRIC.percent ? PERCENT : undefined);

function drawFronts() {
  const any = finished(visible()).length > 0;
  find("nothing").textContent = any ? "" : finished(DATA.runs).length ? "No run that is finished is chosen above." : "No run was finished; the table of every run says why.";
  for (const part of document.querySelectorAll("#trade-off > :not(h2, #nothing)")) part.hidden = !any;
  find("trade-off").querySelector("h2").textContent = `${METRIC.words[0].toUpperCase()}${METRIC.words.slice(1)} against size and latency`;
  if (!any) return;
  drawCosts();
  const cost = costOf(state.cost);
  find("chosen").textContent = !cost.chooses ? "There is no line: this error is of test examples, which choose nothing."
    : state.split === "val" ? "It is chosen on validation examples." : "It is chosen on validation examples and drawn at its figure on test examples, which is why it can fall.";
  drawFront("size", cost, JUDGED, nearTheBest);
  if (FIELDS.has("ratio") && state.cost !== "ratio") drawFront("latency", costOf("ratio"), JUDGED, nearTheBest);
  else find("latency").hidden = true;
  const runs = finished(visible()).filter((run) => cost.at(run) != null && JUDGED.value(run) != null);
  const low = floor(runs.map(JUDGED.value), baselines().map(JUDGED.value));
  const below = runs.filter((run) => JUDGED.value(run) < low).length;
  find("below").textContent = below ? `${below} of ${runs.length} runs lie below the picture` : "";
  find("zoom").hidden = !below && !state.every;
}

function drawCosts() {
  const offered = costs();
  if (!offered.includes(state.cost)) state.cost = offered[0] ?? "gzip";
  find("cost").replaceChildren(...offered.map((key) => make("option", { value: key, textContent: FIELDS.get(key).axis })));
  find("cost").value = state.cost;
  find("cost").closest("label").hidden = offered.length < 2;
}

function drawFrontTable() {
  const cost = costOf(costOf(state.cost).chooses ? state.cost : "gzip");
  const columns = [...FIELDS.values()].filter((field) => field.shown && field.key !== "status" && field.group !== "Configuration");
  if (!columns.includes(cost.field)) columns.splice(columns.findIndex((field) => field.key === "gzip"), 0, cost.field);
  const head = make("tr");
  columns.forEach((column) => head.append(make("th", { className: look_of(column), textContent: column.key === "label" ? `on the front of validation ${METRIC.words} against ${cost.field.axis}` : column.title })));
  const body = make("tbody");
  front([...finished(visible()), ...baselines()], cost.at).forEach((run) => body.append(row(run, columns)));
  find("front").replaceChildren(make("thead", {}, head), body);
}
