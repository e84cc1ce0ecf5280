// What each parameter costs, and all of them at once.

function drawEffects() {
  const place = find("effects").querySelector(".charts");
  find("effects").hidden = !DATA.effects.length;
  while (place.childElementCount > DATA.effects.length) place.lastElementChild.remove();
  for (let index = place.childElementCount; index < DATA.effects.length; index++) place.append(frameChart(make("div", { className: "chart", id: `effect-${index}` })));
  DATA.effects.forEach((effect, index) => {
    const lines = effect.lines.map(thinned).filter((line) => line.x.length);
    find(`effect-${index}`).hidden = !lines.length;
    if (!lines.length) return;
    const traces = lines.map((line) => {
      const paint = colours();
      const { symbol } = look(line.technique);
      const dots = line.runs.map(([id]) => paint.of(DATA.runs[id]));
      const color = paint.field ? colour("before") : dots[0];
      const [means, spreads] = [line.mean[state.split], line.spread[state.split]];
      const several = spreads.some((value) => value != null);
      return {
        type: "scatter", mode: line.joined && line.x.length > 1 ? "lines+markers" : "markers", name: plain(line.labels[0]),
        x: line.x, y: means.map((value) => (value == null ? null : SCALE * value)),
        error_y: several ? { type: "data", array: spreads.map((value) => SCALE * (value || 0)), thickness: 1.2, width: 3, color } : undefined,
        text: means.map((value, at) => `${wrapped(line.labels[at])}<br>${plain(effect.name)} = ${line.x[at]}<br>${splitName()} ${figure(value)}${UNIT}${spreads[at] == null ? "" : ` ± ${figure(spreads[at])}`}, n = ${line.n[at]}`),
        hovertemplate: "%{text}<extra></extra>",
        line: { color, width: 1.4 }, marker: { color: dots, symbol, size: 8, opacity: 0.85 },
      };
    });
    const whole = lines.flatMap((line) => line.x);
    const ends = lines.flatMap((line) => line.mean[state.split].flatMap((value, at) => (value == null ? [] : [-1, 1].map((side) => SCALE * (value + side * (line.spread[state.split][at] || 0))))));
    const discrete = [...new Set(whole)].sort((a, b) => a - b);
    const few = discrete.length <= 12 && discrete.every(Number.isInteger);
    plot(`effect-${index}`, traces, layout(effect.name, TITLE(), { xaxis: { ...reach(whole), ...(few ? { tickvals: discrete } : {}) }, yaxis: reach(ends, METRIC.percent ? PERCENT : undefined), height: 300, ...BOX() }), `${TITLE()} by ${effect.name}`);
    brushable(`effect-${index}`, `key.${effect.name}`, () => state.split);
  });
}

// A line without the points of which no run is shown.
function thinned(line) {
  const kept = line.x.map((_, at) => at).filter((at) => anyVisible({ runs: line.runs[at] }));
  const of = (values) => kept.map((at) => values[at]);
  const both = ({ val, test }) => ({ val: of(val), test: of(test) });
  return { ...line, x: of(line.x), labels: of(line.labels), n: of(line.n), runs: of(line.runs), mean: both(line.mean), spread: both(line.spread) };
}

// ---- parallel coordinates

function dimension(key, title, runs, logarithmic = false) {
  const values = runs.map((run) => displayed(FIELDS.get(key), run));
  const present = known(values);
  const scaled = (value) => (logarithmic ? Math.log10(value) : value);
  const [low, high] = [smallest(present.map(scaled)), largest(present.map(scaled))];
  const reach = high - low || 1;
  const missing = present.length < values.length;
  const off = low - 0.18 * reach; // where runs go that have no such parameter
  const distinct = [...new Set(present)].sort((a, b) => a - b);
  const apart = distinct.every((value, at) => at === 0 || scaled(value) - scaled(distinct[at - 1]) > 0.07 * reach);
  const marks = distinct.length <= 8 && apart ? distinct : [0, 0.25, 0.5, 0.75, 1].map((share) => (logarithmic ? 10 ** (low + share * reach) : low + share * reach));
  const range = state.ranges.get(key)?.map((end) => Math.min(Math.max(logarithmic ? Math.log10(Math.max(end, 1e-9)) : end, low - 0.02 * reach), high + 0.02 * reach));
  return {
    label: plain(title), multiselect: false, constraintrange: range ?? null, field: { key, logarithmic, low },
    values: values.map((value) => (value == null ? off : scaled(value))),
    range: [missing ? off : low - 0.03 * reach, high + 0.03 * reach],
    tickvals: [...(missing ? [off] : []), ...marks.map(scaled)],
    ticktext: [...(missing ? ["off"] : []), ...marks.map((value) => String(+value.toPrecision(3)))],
  };
}

// Its own ranges leave lines grey instead of taking them away: so they can be widened again.
function drawCoordinates() {
  const names = DATA.numbers.filter((name) => finished(visible()).some((run) => run.params[name] != null));
  const own = new Set([...names.map((name) => `key.${name}`), "gzip", state.split]);
  const runs = finished(DATA.runs).filter((run) => run.gzip && run[state.split] != null && chosenBut(run, own));
  find("parallel").hidden = runs.length < 2 || !names.length;
  if (find("parallel").hidden) return;
  const chart = find("coordinates");
  const most = Math.max(1, Math.floor(chart.clientWidth / 105) - 3);
  const last = (name) => name.split(".").pop();
  const title = (name) => (names.filter((other) => last(other) === last(name)).length > 1 ? name : last(name)).replaceAll("_", " ");
  const dimensions = names.slice(0, most).map((name) => dimension(`key.${name}`, title(name), runs));
  dimensions.push(dimension("gzip", "gzip'd KB", runs, true), dimension(state.split, `${state.split}${UNIT}`, runs));
  const { field, words } = colours();
  find("coloured").textContent = field ? field.title : `${splitName()} ${METRIC.words}`;
  plot(chart, [{
    type: "parcoords", dimensions, line: lineColours(runs, field, words),
    labelfont: { size: 12 }, tickfont: { size: 11 }, rangefont: { size: 11, color: "rgba(0,0,0,0)" },
  }], { margin: { l: 46, r: 46, t: 56, b: 20 }, height: 340, font: { size: 12, color: colour("ink") }, paper_bgcolor: colour("ground") }, "Every run as a line through its parameters, size and accuracy");
  if (chart.brushed) return;
  chart.brushed = true;
  chart.on("plotly_restyle", () => {
    for (const { field: { key, logarithmic, low }, constraintrange } of chart.data[0].dimensions) {
      const ends = Array.isArray(constraintrange?.[0]) ? constraintrange[0] : constraintrange;
      state.ranges.delete(key);
      if (ends) filterBy(key, ends.map((end) => Math.max(end, low)).map((end) => (logarithmic ? 10 ** end : end)));
    }
    drawRanges();
    changed();
  });
}

function lineColours(runs, field, words) {
  if (field?.text) {
    const names = words.map(([name]) => name);
    const scale = words.length > 1 ? words.map(([, colour], index) => [index / (words.length - 1), colour]) : [[0, series(0)], [1, series(0)]];
    return { color: runs.map((run) => names.indexOf(word(field, run) || "none")), colorscale: scale, cmin: 0, cmax: Math.max(1, words.length - 1) };
  }
  const values = runs.map((run) => (field ? displayed(field, run) : SCALE * run[state.split]));
  const ascending = known(values).sort((a, b) => a - b);
  if (field) return { color: values.map((value) => value ?? ascending[0]), colorscale: [0, 0.25, 0.5, 0.75, 1].map((share) => [share, ramp(share)]), cmin: ascending[0], cmax: ascending.at(-1) };
  return { color: values, colorscale: [0, 0.5, 1].map((share) => [share, ramp(share)]), cmin: ascending[Math.floor(0.1 * ascending.length)], cmax: ascending.at(-1) };
}
