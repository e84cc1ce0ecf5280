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
take(JSON.parse(document.getElementById("data").textContent));

const PAGE = 100; // rows of the table drawn at once
const PICTURES = 48; // of lost examples drawn at once

const state = { off: new Set(), data: "", split: "val", every: false, sort: "val", down: DATA.metric.higher_is_better, search: "", rows: PAGE, pies: PICTURES };

const find = (id) => document.getElementById(id);
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const percent = (share, digits = 2) => (share == null ? "" : (100 * share).toFixed(digits));
const figure = (value) => (value == null ? "" : METRIC.percent ? percent(value) : String(+value.toPrecision(4)));
const meritOf = (value) => (value == null ? null : METRIC.higher_is_better ? value : -value);
const kilobytes = (bytes) => (bytes == null ? "" : (bytes / 1000).toFixed(1));

function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const chosen = (item) => !state.off.has(item.technique) && (state.data === "" || item.data === "" || item.data === state.data);
const visible = () => DATA.runs.filter(chosen);
const finished = (runs) => runs.filter((run) => run.status === "ok");
const baselines = () => DATA.baselines.filter((one) => state.data === "" || one.data === state.data);
const ownBase = (run) => ({ ...DATA.baselines[run.baseline]?.metrics, ...run.own }); // of the run's own record
const splitName = () => (state.split === "val" ? "validation" : "test");
const narrow = () => window.innerWidth < 640;
