// What all charts have in common.

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#7a3fb0", "#a65628", "#3f7f7f", "#666666"];
const SYMBOLS = ["circle", "square", "triangle-up", "x", "star", "triangle-down", "pentagon", "cross", "hexagon", "hourglass"];
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };
const PERCENT = [0, 100];

const look = (technique) => {
  const index = DATA.techniques.indexOf(technique);
  return { color: COLOURS[index % COLOURS.length], symbol: SYMBOLS[(index + Math.floor(index / COLOURS.length)) % SYMBOLS.length] };
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

const MANY = 1000; // points of a chart, from which WebGL draws them
const pointsOf = (points) => (points.length > MANY ? "scattergl" : "scatter");
