// Robustness: errors on corrupted examples against size, a map of accuracies, the examples that are lost.

const MAPPED = 40; // rows of the map, the best on validation
const MEAN = "mean of 1 to 5";
const PUBLISHED = "usual";
const OWN = "own"; // each run's own baseline; otherwise the number of a kind of baseline

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const spread = (values) => (values.length < 2 ? null : Math.sqrt(values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0) / (values.length - 1)));

// `accuracy/mnist_c/fog:3`: of the set `mnist_c` fog, severity 3. What is in no set stands there as it was asked for.
function perturbation(metric, split = "accuracy") {
  const [kind, ...rest] = metric.split("/");
  if (kind !== split || !rest.length) return null;
  if (rest.length === 1) return { set: "", name: rest[0], severity: "" };
  const [name, severity = ""] = rest.at(-1).split(":");
  return { set: rest.slice(0, -1).join("/"), name, severity };
}

function accuracy(metrics, set, name, severity) {
  if (name === "clean") return metrics.test_accuracy ?? null;
  const at = (suffix) => metrics[`accuracy/${set ? `${set}/` : ""}${name}${suffix}`] ?? null;
  if (severity !== MEAN) return at(severity && severity !== PUBLISHED ? `:${severity}` : "");
  const all = [1, 2, 3, 4, 5].map((one) => at(`:${one}`));
  return all.includes(null) ? null : mean(all);
}

// The metrics that a run's errors are held against: its own baseline's, or those of another kind's of the same seed.
function reference(run, kind) {
  if (kind === OWN) return ownBase(run);
  return DATA.baselines.find((one) => one.kind === Number(kind) && one.seed === run.seed)?.metrics;
}

const kinds = () => DATA.kinds.map((label, kind) => ({ label: short(label), kind })).filter(({ kind }) => baselines().some((one) => one.kind === kind));
const short = (label) => label.replace(/\bexperiment=/g, "");

// Labels without the words that all of them begin with.
function distinct(labels) {
  const first = labels[0];
  let shared = labels.length > 1 ? first.length : 0;
  while (shared && !labels.every((label) => label.startsWith(first.slice(0, shared)))) shared--;
  while (shared && !"_= ".includes(first[shared - 1])) shared--;
  return labels.map((label) => label.slice(shared));
}

function choices(id, options) {
  const select = find(id);
  const before = select.options.length ? select.value : null;
  select.replaceChildren(...options.map(([value, textContent]) => make("option", { value, textContent })));
  if (options.some(([value]) => String(value) === before)) select.value = before;
  select.closest("label").hidden = options.length < 2;
  return select.value;
}

// ---- mean corruption error against size

// Of test examples, or of validation examples where a run has such figures. A corruption under which the baseline makes no
// error has no ratio.
function errorOver(one, kind, validation = false) {
  if (kind === OWN) return (validation ? one.metrics.val_mce : one.mce) ?? null;
  const split = validation ? "val_accuracy" : "accuracy";
  const base = reference(one, kind);
  const names = Object.keys(one.metrics).filter((name) => perturbation(name, split)?.set && !perturbation(name, split).severity);
  const ratios = names.filter((name) => base?.[name] < 1).map((name) => (1 - one.metrics[name]) / (1 - base[name]));
  return ratios.length ? mean(ratios) : null;
}

function drawErrors() {
  const kind = choices("against", [[OWN, "each run's own baseline"], ...(kinds().length > 1 ? kinds().map((one) => [one.kind, one.label]) : [])]);
  const runs = finished(visible()).filter((run) => errorOver(run, kind) != null);
  find("mce").hidden = !runs.length && kind === OWN;
  if (find("mce").hidden) return;
  const validated = runs.every((run) => errorOver(run, kind, true) != null);
  const drawn = validated && state.split === "val";
  find("judged").textContent = validated
    ? `The line is the Pareto front, chosen on validation examples${drawn ? "" : ", drawn at its error on test examples"}.`
    : "Of test examples: there is no such figure of validation examples, so there is no front.";
  const measure = {
    title: () => `mean corruption error, ${drawn ? "validation" : "test"} (baseline: 1)`,
    field: () => (kind !== OWN ? null : drawn ? "val_mce" : "mce"),
    value: (one) => errorOver(one, kind, drawn),
    merit: validated ? (run) => (errorOver(run, kind, true) == null ? null : -errorOver(run, kind, true)) : null,
    says: (one) => `mean corruption error ${drawn ? "validation" : "test"} ${errorOver(one, kind, drawn).toFixed(3)}<br>`,
  };
  drawFront("errors", costOf("gzip"), measure, (runs, bases) => logAxis([...runs, ...bases], 1.1, [1, 1.5, 2, 3, 5, 7]));
}

// ---- the map of accuracies

function mapRows() {
  const groups = DATA.groups.filter(anyVisible); // the best on validation first
  const best = groups.slice(0, MAPPED);
  if (best.every((group) => group.val_mce != null)) best.sort((a, b) => a.val_mce - b.val_mce);
  const rows = best.map((group) => ({
    label: short(group.label), first: group.technique === "baseline",
    runs: group.runs.map((id) => DATA.runs[id]),
  }));
  const shown = new Set(rows.filter((row) => row.first).flatMap((row) => row.runs.map((run) => DATA.baselines[run.baseline]?.kind)));
  for (const { kind, label } of kinds()) {
    if (shown.has(kind)) continue; // it was run by itself
    const own = DATA.baselines.map((one, baseline) => ({ ...one, baseline })).filter((one) => one.kind === kind && baselines().includes(DATA.baselines[one.baseline]));
    rows.push({ label, first: true, runs: own });
  }
  return { rows, leftOut: Math.max(0, groups.length - MAPPED) };
}

// Of a row's runs: accuracy, mean and spread, and the mean error over that of what it is held against.
function cell(row, set, name, severity, against) {
  const pairs = row.runs.map((run) => {
    const base = reference(run, against);
    return [accuracy(run.metrics, set, name, severity), base ? accuracy(base, set, name, severity) : null];
  }).filter(([own]) => own != null);
  if (!pairs.length) return null;
  const own = pairs.map(([value]) => value);
  const held = pairs.filter(([, base]) => base != null);
  const errors = [0, 1].map((side) => mean(held.map((pair) => 1 - pair[side])));
  return { n: own.length, accuracy: mean(own), spread: spread(own), ratio: held.length && errors[1] > 0 ? errors[0] / errors[1] : null };
}

function drawPerturbations() {
  const all = mapRows();
  const seen = known([...new Set(all.rows.flatMap((row) => row.runs.flatMap((run) => Object.keys(run.metrics))))].map((name) => perturbation(name)));
  const sets = [...new Set(seen.map((one) => one.set))].sort();
  find("perturbed").hidden = !seen.length;
  if (!seen.length) return;
  const title = (set) => (set === "" ? "perturbed as asked for" : set.replace("mnist_c", "MNIST-C").replace("cifar10_c", "CIFAR-10-C"));
  const set = choices("perturbed-set", sets.reverse().map((one) => [one, title(one)]));
  const own = seen.filter((one) => one.set === set);
  const severities = [...new Set(own.map((one) => one.severity))].sort();
  const several = set !== "" && severities.some(Boolean);
  const severity = choices("perturbed-severity", several
    ? severities.map((one) => [one || PUBLISHED, one || PUBLISHED]).concat([[MEAN, MEAN]]) : [[PUBLISHED, PUBLISHED]]);
  const shown = choices("perturbed-shown", [
    ["accuracy", "accuracy"], [OWN, "errors over those of the own baseline"],
    ...(kinds().length > 1 ? kinds().map((one) => [one.kind, `errors over those of ${one.label}`]) : []),
  ]);
  const ratio = shown !== "accuracy";
  const value = (found) => (found == null ? null : ratio ? found.ratio : 100 * found.accuracy);
  const names = [...new Set(own.map((one) => one.name))];
  const cells = (row, name) => cell(row, set, name, severity, ratio ? shown : OWN);
  const rows = all.rows.map((row) => ({ ...row, found: Object.fromEntries(["clean", ...names].map((name) => [name, cells(row, name)])) }))
    .filter((row) => names.some((name) => value(row.found[name]) != null));
  for (const row of rows) row.mean = mean(known(names.map((name) => value(row.found[name]))));
  rows.sort((a, b) => b.first - a.first);
  const ease = (name) => mean(known(rows.map((row) => row.found[name]?.accuracy)));
  const columns = ["clean", ...names.filter((name) => rows.some((row) => row.found[name])).sort((a, b) => ease(b) - ease(a) || a.localeCompare(b))];
  find("perturbed-note").textContent = (ratio
    ? "Test errors over the baseline's: orange is more, blue is less; its scale is logarithmic. "
    : "Test accuracy in percent. ") + (all.leftOut ? `The best ${MAPPED} of ${all.leftOut + MAPPED} on validation. ` : "") + "Easiest examples on the left.";
  drawMap(rows, columns, value, ratio);
}

function drawMap(rows, columns, value, ratio) {
  const digits = (number) => (number == null ? "" : number.toFixed(ratio && number < 10 ? 2 : 1));
  const values = rows.map((row) => [...columns.map((name) => value(row.found[name])), row.mean]);
  const z = ratio ? values.map((row) => row.map((one) => (one == null ? null : Math.log2(Math.max(one, 1e-3))))) : values;
  const reach = Math.min(3, Math.max(0.5, ...z.flat().map((one) => Math.abs(one ?? 0))));
  const said = (row, name) => {
    const found = row.found[name];
    return found == null ? "" : `${wrapped(row.label)}<br>${plain(name)}: ${percent(found.accuracy)}${found.spread == null ? "" : ` ± ${percent(found.spread)}`} %, n = ${found.n}`
      + (found.ratio == null ? "" : `<br>errors over the baseline's: ${found.ratio.toFixed(2)}`);
  };
  const hover = rows.map((row) => [...columns.map((name) => said(row, name)), `${wrapped(row.label)}<br>mean of the columns but clean: ${digits(row.mean)}`]);
  const title = (name) => name.replaceAll("_", " ");
  const longest = narrow() ? 18 : 40;
  const labels = distinct(rows.map((row) => row.label)).map((label) => plain(label.length > longest ? `${label.slice(0, longest - 1)}…` : label));
  const place = find("perturbations");
  const room = (place.clientWidth - 7 * Math.min(longest, Math.max(...labels.map((label) => label.length)))) / (columns.length + 1) > 36;
  const scale = ratio
    ? { colorscale: [[0, "#0b5fa5"], [0.25, "#7fb2d9"], [0.5, "#f7f7f7"], [0.75, "#f0a868"], [1, "#b84a00"]], zmin: -reach, zmax: reach, colorbar: { tickvals: [-3, -2, -1, 0, 1, 2, 3], ticktext: ["1/8", "1/4", "1/2", "1", "2", "4", "8"], thickness: 12 } }
    : { colorscale: "Viridis", colorbar: { thickness: 12 } };
  Plotly.react("perturbations", [{
    type: "heatmap", z, x: [...columns, "mean"].map(title).map(plain), y: rows.map((_, index) => index), ...scale, showscale: !narrow(), xgap: 1, ygap: 1,
    text: values.map((row) => row.map(digits)), texttemplate: room ? "%{text}" : "", textfont: { size: 11 },
    hovertext: hover, hovertemplate: "%{hovertext}<extra></extra>",
  }], layout("", "", {
    height: 140 + 24 * rows.length, xaxis: { tickangle: narrow() ? -90 : -40, side: "bottom" },
    yaxis: { autorange: "reversed", tickvals: rows.map((_, index) => index), ticktext: labels, tickfont: { size: 11 } },
  }), CONFIG);
}

// ---- examples that are lost

function drawPies() {
  const groups = DATA.pies.groups.map((group, number) => ({ ...group, number })).filter((group) => anyVisible(group) && group.lost);
  find("pies").hidden = !groups.length;
  if (!groups.length) return;
  const one = choices("pies-of", [...(groups.length > 1 ? [["any", `any of ${groups.length} groups`]] : []), ...groups.map((group) => [group.number, `${short(group.label)} (${group.lost})`])]);
  const wanted = new Set(one === "any" ? groups.map((group) => group.number) : [Number(one)]);
  const examples = DATA.pies.examples.map((example) => ({
    ...example,
    here: example.answers.filter(([group]) => wanted.has(group)),
    lost: example.answers.filter(([group]) => groups.some((other) => other.number === group)).length,
  })).filter((example) => example.here.length).sort((a, b) => b.lost - a.lost || a.index - b.index);
  const count = one === "any" ? null : groups.find((group) => String(group.number) === one).lost;
  find("pies-note").textContent = `${Math.min(examples.length, state.pies)} of ${one === "any" ? examples.length : count} examples`
    + (DATA.pies.left_out ? "; of the groups that are best on validation" : "");
  find("gallery").classList.toggle("texts", examples.some((example) => example.text !== undefined));
  find("gallery").replaceChildren(...examples.slice(0, state.pies).map((example) => lostExample(example, groups, one !== "any")));
  find("more-pies").hidden = examples.length <= state.pies;
}

function lostExample(example, groups, ofOne) {
  const answers = new Map();
  for (const [, says] of example.here) answers.set(says, (answers.get(says) ?? 0) + 1);
  const most = [...answers].sort((a, b) => b[1] - a[1]).map(([says, times]) => (answers.size > 1 ? `${says} (${times})` : says));
  const said = most.slice(0, 3).join(", ") + (most.length > 3 ? " …" : "");
  const title = example.here.map(([group, says, wrong, seeds]) => `${short(DATA.pies.groups[group].label)}: ${says}, ${wrong} of ${seeds} seeds wrong`).join("\n");
  const about = ofOne ? `${example.here[0][2]} of ${example.here[0][3]} seeds` : null;
  return make("figure", { title },
    example.text === undefined
      ? make("img", { src: example.picture, alt: `test example ${example.index}, a ${example.label}`, loading: "lazy" })
      : make("blockquote", { textContent: example.text }),
    make("figcaption", {}, `label ${example.label}, baseline ${example.label}`, make("br"), make("strong", { textContent: `compressed ${said}` }), make("br"),
      ...(about ? [about, make("br")] : []), `lost by ${example.lost} of ${groups.length}`));
}
