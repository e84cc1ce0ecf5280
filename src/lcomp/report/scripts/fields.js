// What is known of each run, under one name each: columns of the table, filters, colours, axes.

const KNOWN = { // figures of a record: column, what it is multiplied with, axis
  packed_bytes: ["packed KB", 1e-3, "size packed, KB"],
  file_bytes: ["file KB", 1e-3, "size of the file, KB"],
  stream_bytes: ["stream KB", 1e-3, "size of the stream, KB"],
  memory_bytes: ["memory KB", 1e-3, "memory of the activations, KB"],
  flash_bytes: ["flash KB", 1e-3, "flash on the chip, KB"],
  ram_bytes: ["RAM KB", 1e-3, "RAM on the chip, KB"],
  macs: ["MACs, M", 1e-6, "multiply-accumulate operations, millions"],
  val_mce: ["val mCE", 1, "mean corruption error, validation"],
};
const SHORT = { gzip_bytes: "gzip", latency_us_p50: "latency", latency_ratio: "ratio", sparsity: "sparsity", mce: "mce" };
const COSTS = ["gzip", "packed_bytes", "ratio", "macs", "memory_bytes", "flash_bytes", "ram_bytes", "val_mce", "mce"];
let FIELDS; // by their keys: { key, title, value(run), show(run), text, wide, scale, axis, group }

const brief = (number) => String(+number.toPrecision(4));
const written = (value) => (value == null ? "" : typeof value === "object" ? JSON.stringify(value) : typeof value === "number" ? brief(value) : String(value));
const displayed = (field, run) => { const value = field.value(run); return typeof value === "number" ? value * (field.scale ?? 1) : null; };
const word = (field, run) => written(field.value(run));
const figureOf = (one, metric) => one.metrics[metric] ?? null; // of a run or of a baseline

function defineFields() {
  const fields = [
    { key: "label", title: "run", text: true, value: (run) => run.label },
    { key: "technique", title: "technique", text: true, wide: true, value: (run) => run.technique },
    { key: "data", title: "data", text: true, wide: true, value: (run) => run.data },
    ...(DATA.runs.some((run) => run.trial != null) ? [{ key: "trial", title: "trial", wide: true, value: (run) => run.trial }] : []),
    { key: "seed", title: "seed", wide: true, value: (run) => run.seed },
    { key: "val", title: `val${UNIT}`, scale: SCALE, value: (run) => run.val, exact: METRIC.validation, show: (run) => figure(run.val) },
    { key: "test", title: `test${UNIT}`, scale: SCALE, value: (run) => run.test, exact: METRIC.test, show: (run) => figure(run.test) },
    { key: "gzip", title: "gzip KB", axis: "size gzip'd, KB", scale: 1e-3, exact: "gzip_bytes", value: (run) => run.gzip, show: (run) => kilobytes(run.gzip) },
    { key: "smaller", title: "smaller", wide: true, value: (run) => run.smaller, show: (run) => (run.smaller == null ? "" : `${run.smaller.toFixed(1)}x`) },
    ...(DATA.runs.some((run) => run.mce != null) ? [{ key: "mce", title: "test mCE", axis: "mean corruption error, test", wide: true, value: (run) => run.mce, exact: "mce", show: (run) => (run.mce == null ? "" : run.mce.toFixed(2)) }] : []),
    { key: "sparsity", title: "sparsity", wide: true, value: (run) => run.sparsity, exact: "sparsity", show: (run) => (run.sparsity == null ? "" : run.sparsity.toFixed(3)) },
    { key: "ratio", title: "x latency", axis: "latency at batch 1 over the own baseline's", wide: true, value: (run) => run.ratio, exact: "latency_ratio", show: (run) => (run.ratio == null ? "" : run.ratio.toFixed(2)) },
    { key: "latency", title: "µs", wide: true, value: (run) => run.latency, exact: "latency_us_p50", show: (run) => (run.latency == null ? "" : `${run.latency.toFixed(1)} (${(ownBase(run).latency_us_p50 ?? run.latency).toFixed(1)})`) },
  ].map((field) => ({ group: "Figures", ...field, shown: field.key !== "data" || DATA.datasets.length > 1 }));
  for (const key of DATA.keys) {
    const value = (run) => run.settings?.[key] ?? null;
    const text = DATA.runs.some((run) => value(run) != null && typeof value(run) !== "number");
    fields.push({ key: `key.${key}`, title: key, text, wide: true, group: "Configuration", shown: true, value });
  }
  const metrics = new Set(DATA.runs.flatMap((run) => Object.keys(run.metrics)));
  for (const metric of metrics) {
    if (SHORT[metric] || metric === METRIC.validation || metric === METRIC.test) continue;
    const [title, scale, axis] = KNOWN[metric] ?? [metric.replaceAll("_", " "), 1, metric.replaceAll("_", " ")];
    fields.push({ key: metric, title, scale, axis, exact: metric, wide: true, group: metric.includes("/") ? "Figures on perturbed examples" : "Figures", value: (run) => figureOf(run, metric) });
  }
  fields.push({ key: "status", title: "status", text: true, shown: true, group: "Figures", value: (run) => run.status, show: (run) => (run.status === "ok" ? "ok" : `${run.status}: ${run.error || ""}`) });
  for (const field of fields) field.show ??= (run) => { const value = field.value(run); return typeof value === "number" ? brief(value * (field.scale ?? 1)) : written(value); };
  FIELDS = new Map(fields.map((field) => [field.key, field]));
}
defineFields();

const columns = () => [...FIELDS.values()].filter((field) => (state.columns ? field.key === "label" || state.columns.includes(field.key) : field.shown));

// The costs that some run was measured by: what a front is drawn against.
const costs = () => COSTS.filter((key) => FIELDS.has(key) && finished(DATA.runs).some((run) => FIELDS.get(key).value(run) != null));

// Fields to filter or to colour by: those of which runs differ, numbers by their range, words by choice.
function telling() {
  return [...FIELDS.values()].filter((field) => {
    if (field.key === "label" || field.group.endsWith("perturbed examples")) return false;
    const words = new Set(DATA.runs.map((run) => word(field, run)));
    return words.size > 1 && (!field.text || words.size <= 60);
  });
}

function grouped(select, fields) {
  for (const group of ["Configuration", "Figures"]) {
    const own = fields.filter((field) => field.group === group);
    if (own.length) select.append(make("optgroup", { label: group }, ...own.map((field) => make("option", { value: field.key, textContent: field.title }))));
  }
  return select;
}

// ---- colours

const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [214, 200, 30]]; // Viridis, its end darkened for white
const UNKNOWN = "#9aa4b1";

function ramp(share) {
  const at = Math.min(RAMP.length - 1.000001, Math.max(0, share * (RAMP.length - 1)));
  const from = Math.floor(at);
  return `rgb(${RAMP[from].map((part, index) => Math.round(part + (at - from) * (RAMP[from + 1][index] - part))).join(", ")})`;
}

// What colours a run, and what the colours say; `of` takes a run or a baseline.
function colours() {
  if (shown.colours) return shown.colours;
  const field = FIELDS.get(state.colour);
  if (state.colour === "technique" || !field) return (shown.colours = { of: (run) => look(run.technique).color, words: [] });
  const runs = finished(DATA.runs).filter(ofData);
  if (field.text) {
    const words = [...new Set(runs.map((run) => word(field, run)))].sort();
    const of = (run) => (words.includes(word(field, run)) ? COLOURS[words.indexOf(word(field, run)) % COLOURS.length] : UNKNOWN);
    return (shown.colours = { of, field, words: words.map((one, index) => [one || "none", COLOURS[index % COLOURS.length]]) });
  }
  const values = known(runs.map((run) => displayed(field, run)));
  const [low, high] = [smallest(values), largest(values)];
  const of = (run) => { const value = displayed(field, run); return value == null ? UNKNOWN : ramp((value - low) / (high - low || 1)); };
  return (shown.colours = { of, field, low, high, words: [] });
}
const known = (values) => values.filter((value) => value != null);
const smallest = (values) => values.reduce((least, value) => Math.min(least, value), Infinity);
const largest = (values) => values.reduce((most, value) => Math.max(most, value), -Infinity);
