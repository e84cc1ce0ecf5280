// Curves, weights, the study.

const CURVES = 40; // runs drawn at once

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
    ...own.slice(0, CURVES).map((run) => line(run.epochs[name], colours().of(run), run.label)),
  ];
  const drawn = known(traces.flatMap((trace) => trace.y));
  Plotly.react("curves", traces, layout("epoch", name, { height: 360, yaxis: reach(drawn), xaxis: { range: [0.5, longest + 0.5], tick0: 1, dtick: Math.ceil(longest / 12) }, ...BOX() }), CONFIG);
  if (find("curves").brushed) return;
  find("curves").brushed = true;
  find("curves").on("plotly_selected", (event) => {
    if (!event?.range) return;
    state.passed = { name: find("curve").value, epochs: roundedOut(...event.range.x), figures: roundedOut(...[...event.range.y].sort((a, b) => a - b)) };
    changed();
  });
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
  const place = find("study").querySelector(".charts");
  find("study").hidden = !DATA.figures.length;
  while (place.childElementCount > DATA.figures.length) place.lastElementChild.remove();
  while (place.childElementCount < DATA.figures.length) place.append(frameChart(make("div", { className: "chart study" })));
  DATA.figures.forEach((figure, index) => {
    Plotly.react(place.querySelectorAll(".chart")[index], figure.data, { ...figure.layout, template: undefined, autosize: true, height: 360, font: { size: 12 }, margin: { l: 60, r: 20, t: 50, b: 60 }, yaxis: { ...figure.layout.yaxis, automargin: true, title: { ...figure.layout.yaxis?.title, standoff: 12 } }, legend: { orientation: "h", y: -0.25 } }, CONFIG);
  });
}
