// A box in a chart, or a range along an axis of the parallel coordinates, keeps the runs whose figures lie in it.

// A finger on a chart scrolls the page: there the ranges above do what a box does.
const BOX = () => ({ dragmode: narrow() || matchMedia("(pointer: coarse)").matches ? false : "select", selections: [], newselection: { line: { color: "#0b62a8", width: 1 } } });

// A range as a filter has it: with as many digits as tell runs apart, and the ends of the box outside of them.
const roundedOut = (low, high) => {
  const step = 10 ** Math.floor(Math.log10((high - low || Math.abs(high) || 1) / 1000));
  const tidy = (value) => +value.toPrecision(12);
  return [tidy(Math.floor(low / step) * step), tidy(Math.ceil(high / step) * step)];
};

function brushable(id, across, upward) {
  const chart = find(id);
  chart.axes = [across, upward]; // of the fields, as they are drawn now
  if (chart.brushed) return;
  chart.brushed = true;
  chart.on("plotly_selected", (event) => {
    if (!event?.range) return;
    const [x, y] = chart.axes;
    filterBy(typeof x === "function" ? x() : x, event.range.x);
    filterBy(typeof y === "function" ? y() : y, event.range.y);
    changed();
  });
}

function filterBy(key, ends) {
  if (!FIELDS.has(key) || FIELDS.get(key).text) return;
  const sorted = [...ends].sort((a, b) => a - b);
  const [low, high] = roundedOut(...sorted);
  const [least, most] = state.ranges.get(key) ?? [-Infinity, Infinity];
  state.ranges.set(key, [Math.max(low, least), Math.min(high, most)]);
}
