"use strict";
// The data of the page, what the reader has chosen, and the words for figures. Whatever comes from a configuration reaches
// the page as text only: textContent for elements, `plain` for Plotly, which reads a little HTML.

let DATA; // what page.report_data makes
let METRIC; // what runs are judged by
let UNIT;
let SCALE; // what a figure of the metric is multiplied with to be shown

function take(data) {
  DATA = data;
  METRIC = DATA.metric;
  UNIT = METRIC.percent ? " %" : "";
  SCALE = METRIC.percent ? 100 : 1;
}
take(window.packedData ?? JSON.parse(document.getElementById("data").textContent)); // that of a large report: unpack.js

const PAGE = 100; // rows of the table drawn at once
const PICTURES = 48; // of lost examples drawn at once
const CHOSEN_AT_FIRST = () => ({
  off: new Set(), // techniques left out
  ranges: new Map(), // of a field: the least and the most, as the table shows figures
  words: new Map(), // of a field: the words that are kept
  passed: null, // a box that curves pass through: name, epochs, figures
  data: "", split: "val", every: false, colour: "technique", cost: "gzip",
  tolerance: METRIC.percent ? 0.5 : 5, // below the best baseline: points, or percent of its figure
  sort: "val", down: METRIC.higher_is_better, search: "", columns: null, compared: [],
  rows: PAGE, pies: PICTURES,
});
const state = CHOSEN_AT_FIRST();

const find = (id) => document.getElementById(id);
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const percent = (share, digits = 2) => (share == null ? "" : (100 * share).toFixed(digits));
const figure = (value) => (value == null ? "" : METRIC.percent ? percent(value) : String(+value.toPrecision(4)));
const meritOf = (value) => (value == null ? null : METRIC.higher_is_better ? value : -value);
const kilobytes = (bytes) => (bytes == null ? "" : (bytes / 1000).toFixed(1));
const splitName = () => (state.split === "val" ? "validation" : "test");
const narrow = () => window.innerWidth < 640;

function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// ---- what is shown

const ofData = (item) => state.data === "" || item.data === "" || item.data === state.data;
const chosenBut = (run, free) => !state.off.has(run.technique) && ofData(run) && inRanges(run, free) && inWords(run) && passes(run);
const chosen = (run) => chosenBut(run, new Set()); // `free` are fields whose ranges do not count
const visible = () => (shown.runs ??= DATA.runs.filter(chosen));
const anyVisible = (item) => item.runs.some((id) => (shown.ids ??= new Set(visible().map((run) => run.id))).has(id));
const finished = (runs) => runs.filter((run) => run.status === "ok");
const baselines = () => DATA.baselines.filter(ofData);
const ownBase = (run) => ({ ...DATA.baselines[run.baseline]?.metrics, ...run.own }); // of the run's own record
let shown = {}; // found once for each drawing

function inRanges(run, free) {
  for (const [key, [low, high]] of state.ranges) {
    if (free.has(key)) continue;
    const value = displayed(FIELDS.get(key), run);
    const slack = 1e-9 * Math.max(Math.abs(low), Math.abs(high), 1e-9); // of a figure times its scale
    if (value == null || value < low - slack || value > high + slack) return false;
  }
  return true;
}

function inWords(run) {
  for (const [key, kept] of state.words) if (!kept.has(word(FIELDS.get(key), run))) return false;
  return true;
}

// Whether the run's curve is within the box at some epoch.
function passes(run) {
  if (!state.passed) return true;
  const { name, epochs: [first, last], figures: [low, high] } = state.passed;
  const curve = run.epochs?.[name] ?? [];
  return curve.some((value, at) => value != null && at + 1 >= first && at + 1 <= last && value >= low && value <= high);
}
