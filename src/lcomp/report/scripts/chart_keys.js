// The charts' points from the keyboard: arrows go over them, a ring and a voice say which one it is, Enter is a click on it.

const STRIDE = 10; // points that Page Up and Page Down go over

// What a mouse finds in the part of a chart that is seen: by the horizontal axis, of a map row by row.
function pointsOf(chart) {
  const { xaxis, yaxis } = chart._fullLayout;
  if (!xaxis || !yaxis) return [];
  const title = (axis, value) => `${axis.title?.text ?? ""} ${value}`;
  const short = (value) => (typeof value === "number" ? String(+value.toPrecision(4)) : value);
  const said = (trace, values) => trace.hovertemplate.replace("<extra></extra>", "").replace(/%\{(x|y|text)[^}]*\}/g, (_, name) => short(values[name]));
  const found = (chart._fullData ?? []).flatMap((trace, curve) => {
    if (trace.type === "heatmap") {
      return [...trace.z].flatMap((row, down) => [...row].map((_, across) => ({ curve, point: [down, across], x: trace.x[across], y: trace.y[down], says: trace.hovertext[down][across] })));
    }
    if (trace.visible !== true || trace.hoverinfo === "skip" || !(trace.type === "bar" || trace.mode?.includes("markers"))) return [];
    const own = (values, point) => (Array.isArray(values) ? values[point] : null);
    return Array.from(trace.x, (x, point) => ({
      curve, point, x, y: trace.y[point], id: own(trace.customdata, point) ?? null,
      says: trace.hovertemplate ? said(trace, { x, y: trace.y[point], text: own(trace.text, point) }) : `${trace.name}: ${title(xaxis, short(x))}, ${title(yaxis, short(trace.y[point]))}`,
    }));
  });
  const placed = found.map((one) => ({ ...one, left: xaxis.d2p(one.x), top: yaxis.d2p(one.y) }))
    .filter(({ left, top }) => left >= -1 && left <= xaxis._length + 1 && top >= -1 && top <= yaxis._length + 1);
  return columnsOf(chart) ? placed : placed.sort((a, b) => a.left - b.left || b.top - a.top);
}

const columnsOf = (chart) => (chart._fullData?.[0]?.type === "heatmap" ? chart._fullData[0].x.length : 0);
const same = (one, other) => one && other && one.id === other.id && one.says === other.says && String(one.point) === String(other.point);
const spoken = (text) => new DOMParser().parseFromString(String(text).replaceAll("<br>", ", "), "text/html").body.textContent;

function mark(chart, point) {
  chart.querySelector(".ring")?.remove();
  chart.current = point;
  if (!point) return;
  const { xaxis, yaxis } = chart._fullLayout;
  const ring = make("div", { className: "ring" });
  Object.assign(ring.style, { left: `${xaxis._offset + point.left}px`, top: `${yaxis._offset + point.top}px` });
  chart.append(ring);
  Plotly.Fx.hover(chart, [{ curveNumber: point.curve, pointNumber: point.point }]);
}

function go(chart, event) {
  const points = pointsOf(chart);
  const at = points.findIndex((point) => same(point, chart.current));
  const row = columnsOf(chart) || 1;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columnsOf(chart) ? row : -1, ArrowUp: columnsOf(chart) ? -row : 1, PageDown: STRIDE * row, PageUp: -STRIDE * row, Home: -Infinity, End: Infinity };
  if (event.ctrlKey || event.metaKey || event.altKey || !points.length) return;
  if (event.key === "Enter" && at >= 0) {
    const { id, curve, point, x, y } = points[at];
    chart.emit("plotly_click", { event, points: [{ customdata: id, data: chart.data[curve], curveNumber: curve, pointNumber: point, x, y }] });
  } else if (event.key in steps) {
    const next = at < 0 ? (event.key === "End" ? points.length - 1 : 0) : Math.max(0, Math.min(points.length - 1, at + steps[event.key]));
    mark(chart, points[next]);
    find("heard").textContent = `${spoken(points[next].says)}, ${next + 1} of ${points.length}`;
  } else return;
  event.preventDefault();
}

// A chart that has just been drawn, in words and within the keyboard's reach; what stood on a point stays there.
function reachable(chart, name) {
  const points = pointsOf(chart);
  const keys = points.length ? ` Arrow keys go over its ${points.length} points${points.some((point) => point.id != null) ? ", Enter opens a record" : ""}.` : "";
  chart.setAttribute("role", points.length ? "application" : "img");
  chart.ariaLabel = `${spoken(name)}.${keys}`;
  if (points.length) chart.tabIndex = 0;
  else chart.removeAttribute("tabindex");
  if (chart.current) mark(chart, document.activeElement === chart ? points.find((point) => same(point, chart.current)) : null);
  if (chart.onkeydown) return;
  chart.onkeydown = (event) => go(chart, event);
  chart.onblur = () => {
    chart.querySelector(".ring")?.remove();
    Plotly.Fx.unhover(chart);
  };
  chart.onfocus = () => mark(chart, pointsOf(chart).find((point) => same(point, chart.current)));
}
