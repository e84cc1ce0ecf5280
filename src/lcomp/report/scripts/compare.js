// Two or more runs side by side, what differs first.

const SIDES = 8; // runs at most

const nameOf = (run) => run.record.replace(/\/?result\.json$/, "") || "."; // its folder, which stays when runs are added
const compared = () => state.compared.map((name) => DATA.runs.find((run) => nameOf(run) === name)).filter(Boolean);

function tick(run) {
  const box = make("input", { type: "checkbox", className: "tick", ariaLabel: `Compare ${run.label}`, checked: state.compared.includes(nameOf(run)) });
  box.onclick = (event) => event.stopPropagation();
  box.onchange = () => {
    state.compared = state.compared.filter((name) => name !== nameOf(run));
    if (box.checked) state.compared = [...state.compared, nameOf(run)].slice(-SIDES);
    redrawn(drawComparison);
    if (state.compared.length === SIDES) drawTable();
  };
  return box;
}

// 95 % interval of the difference of two shares of right answers on the same test examples, as Agresti and Min (2005) adjust
// Wald's: half an example more on each side. Null where they are not on the same examples, or the page does not hold them.
function pairedDifference(one, other) {
  if (!one.right || !other.right || one.right.of !== other.right.of || one.right.n !== other.right.n) return null;
  const [first, second] = [one, other].map((run) => atob(run.right.bits));
  let [gained, lost] = [0, 0];
  for (let at = 0; at < first.length; at++) {
    for (let different = first.charCodeAt(at) ^ second.charCodeAt(at), bit = 128; bit; bit >>= 1) {
      if (different & bit) first.charCodeAt(at) & bit ? gained++ : lost++;
    }
  }
  const n = one.right.n;
  const [more, less, all] = [gained + 0.5, lost + 0.5, n + 2];
  const centre = (more - less) / all;
  const half = (1.959964 * Math.sqrt(more + less - (more - less) ** 2 / all)) / all;
  return { mean: (gained - lost) / n, low: centre - half, high: centre + half };
}

function drawComparison() {
  const runs = compared();
  find("comparison").hidden = !state.compared.length;
  find("compare-bar").hidden = !state.compared.length;
  find("compare-count").textContent = runs.length === 1 ? "1 run ticked: tick another to compare" : `${runs.length} runs ticked`;
  find("compare-go").hidden = runs.length < 2;
  if (!state.compared.length) return;
  const place = find("sides");
  if (runs.length < 2) {
    place.replaceChildren(make("p", { className: "soft", textContent: "Tick another run in the table to compare." }));
    return;
  }
  const first = runs[0];
  const keys = [...new Set(runs.flatMap((run) => Object.keys({ ...run.settings, ...run.params })))].sort();
  const setting = (run, key) => written(run.settings?.[key] ?? run.params[key]);
  const rows = [
    ["data", (run) => run.data], ["seed", (run) => String(run.seed)], ["status", (run) => run.status],
    ...(FIELDS.has("trial") ? [["trial", (run) => written(run.trial)]] : []), ...keys.map((key) => [key, (run) => setting(run, key)]),
  ].map(([title, of]) => ({ title, cells: runs.map(of) }));
  const figures = [...new Set(runs.flatMap((run) => Object.keys(run.metrics)))];
  const ahead = [METRIC.validation, METRIC.test, "gzip_bytes"];
  figures.sort((a, b) => (ahead.includes(b) - ahead.includes(a)) || (ahead.includes(a) ? ahead.indexOf(a) - ahead.indexOf(b) : 0));
  const measured = figures.map((metric) => ({ title: metric, cells: runs.map((run) => deltaCell(metric, run, first)), values: runs.map((run) => run.metrics[metric]) }));
  const alike = (cells) => cells.every((cell) => cell === cells[0]);
  const differ = [...rows.filter((row) => !alike(row.cells))];
  const unequal = measured.filter((row) => !alike(row.values));
  const equal = [...rows.filter((row) => alike(row.cells) && row.cells[0] !== ""), ...measured.filter((row) => alike(row.values))];
  const intervals = runs.map((run) => (run === first ? null : pairedDifference(run, first)));
  if (intervals.some(Boolean)) {
    const told = (one) => (one ? `${points(one.mean)} (${points(one.low)} to ${points(one.high)})` : "");
    unequal.splice(unequal.findIndex((row) => row.title === METRIC.test) + 1, 0, { title: "right on test examples over the first: points, 95 % interval", cells: intervals.map(told) });
  }
  const head = ["", ...runs.map((run) => run.label)];
  place.replaceChildren(
    sideTable("What differs", head, differ, runs),
    sideTable("Figures, and their difference from the first", head, unequal, runs),
    make("details", {}, make("summary", { textContent: `What is equal (${equal.length})` }), sideTable("", head, equal, runs)),
  );
}

const points = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(100 * share).toFixed(2)}`;

function deltaCell(metric, run, first) {
  const [value, before] = [run.metrics[metric], first.metrics[metric]];
  if (value == null) return "";
  const judged = metric === METRIC.validation || metric === METRIC.test;
  const say = (number) => (judged ? figure(number) : Number.isInteger(number) ? String(number) : brief(number));
  if (run === first || before == null || value === before) return say(value);
  const delta = value - before;
  return `${say(value)} (${delta > 0 ? "+" : "−"}${say(Math.abs(delta))})`;
}

function sideTable(title, head, rows, runs) {
  if (!rows.length) return make("p", { className: "soft", textContent: title ? `${title}: nothing` : "Nothing." });
  const cells = (texts, tag) => texts.map((text, index) => make(tag, { className: index ? "side" : "text", textContent: text }));
  const top = cells(head, "th");
  runs.forEach((run, index) => {
    const away = make("button", { className: "open", type: "button", textContent: "×", ariaLabel: `Take ${run.label} away` });
    away.onclick = () => { state.compared = state.compared.filter((name) => name !== nameOf(run)); redrawn(drawComparison); drawTable(); };
    top[index + 1].append(" ", away);
  });
  return make("div", { className: "scroll" }, make("table", {}, make("caption", { textContent: title }), make("thead", {}, make("tr", {}, ...top)),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells([row.title, ...row.cells], "td"))))));
}
