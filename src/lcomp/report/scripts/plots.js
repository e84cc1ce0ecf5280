// What all charts have in common.

const SERIES = 10; // colours of page.css
const SYMBOLS = ["circle", "square", "triangle-up", "x", "star", "triangle-down", "pentagon", "cross", "hexagon", "hourglass"];
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };
const PERCENT = [0, 100];

const series = (index) => colour(`series-${index % SERIES}`);
const look = (technique) => {
  const index = DATA.techniques.indexOf(technique);
  return { color: series(index), symbol: SYMBOLS[(index + Math.floor(index / SERIES)) % SYMBOLS.length] };
};

function wrapped(text, width = 48) {
  const lines = [""];
  for (const word of String(text).split(" ")) {
    if ((lines.at(-1) + word).length > width && lines.at(-1)) lines.push("");
    lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word.slice(0, 160);
  }
  return lines.slice(0, 6).map(plain).join("<br>");
}

function layout(x, y, more = {}) {
  const axis = { automargin: true, gridcolor: colour("grid"), zeroline: false, linecolor: colour("edge"), ticks: "outside" };
  return {
    font: { family: "system-ui, DejaVu Sans, sans-serif", size: 12, color: colour("ink") },
    margin: { l: 52, r: 14, t: 26, b: 46 },
    height: 340,
    hoverlabel: { align: "left", bgcolor: colour("fill"), bordercolor: colour("edge"), font: { size: 12, color: colour("ink") } },
    showlegend: false,
    hovermode: "closest",
    paper_bgcolor: colour("ground"),
    plot_bgcolor: colour("ground"),
    ...more,
    xaxis: { ...axis, title: { text: plain(x), standoff: 8, font: { size: 12 } }, ...(more.xaxis || {}) },
    yaxis: { ...axis, title: { text: plain(y), standoff: 8, font: { size: 12 } }, ...(more.yaxis || {}) },
  };
}

// A range that holds all values and shows them apart from its ends; also that of a single value, or of equal ones.
function reach(values, [least, most] = [-Infinity, Infinity]) {
  if (!values.length) return {};
  const [low, high] = [smallest(values), largest(values)];
  const pad = 0.06 * (high - low) || 0.02 * Math.abs(high) || 1;
  return { range: [Math.max(least, low - pad), Math.min(most, high + pad)] };
}

function ticks(values, asked) {
  const [low, high] = [smallest(values), largest(values)];
  const steps = asked ?? (narrow() && high > 20 * low ? [1, 3] : [1, 2, 5]);
  const found = [];
  for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.log10(high) + 1; power++) {
    for (const step of steps) found.push(step * 10 ** power);
  }
  return { tickvals: found, ticktext: found.map((value) => String(+value.toPrecision(2))) };
}

const logAxis = (values, pad, steps) => ({ type: "log", ...ticks(values, steps), range: [Math.log10(smallest(values) / pad), Math.log10(largest(values) * pad)] });

// At the width that its place has now, which is another one on paper. `name` says in words what the chart shows.
function plot(place, traces, drawn, name) {
  const chart = typeof place === "string" ? find(place) : place;
  Plotly.react(chart, traces, { ...drawn, width: chart.clientWidth || undefined }, CONFIG);
  reachable(chart, name);
}

const MANY = 1000; // points of a chart, from which WebGL draws them
const scatterOf = (points) => (points.length > MANY ? "scattergl" : "scatter");
