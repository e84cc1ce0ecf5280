// What each parameter costs, and all of them at once.

function drawEffects() {
  const place = find("effects").querySelector(".charts");
  find("effects").hidden = !DATA.effects.length;
  while (place.childElementCount > DATA.effects.length) place.lastElementChild.remove();
  for (let index = place.childElementCount; index < DATA.effects.length; index++) place.append(make("div", { className: "chart", id: `effect-${index}` }));
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
