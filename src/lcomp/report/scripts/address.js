// What the reader has chosen, in the address of the page behind #: a reload and a shared link show the same.

let ownAddress = null; // the one that was written last

function address() {
  const at = CHOSEN_AT_FIRST();
  const parts = new URLSearchParams();
  if (state.data && state.data !== DATA.datasets[0]) parts.set("data", state.data);
  for (const key of ["split", "colour", "cost", "search"]) if (state[key] !== at[key]) parts.set(key, state[key]);
  if (state.tolerance !== at.tolerance) parts.set("tolerance", state.tolerance);
  if (state.every) parts.set("every", "1");
  if (state.sort !== at.sort || state.down !== at.down) parts.set("sort", `${state.down ? "-" : ""}${state.sort}`);
  for (const technique of state.off) parts.append("without", technique);
  for (const [key, ends] of state.ranges) parts.append("range", [key, ...ends.map((end) => (Number.isFinite(end) ? end : ""))].join("|"));
  for (const [key, kept] of state.words) parts.append("only", JSON.stringify([key, ...kept]));
  if (state.passed) parts.set("curve", JSON.stringify([state.passed.name, ...state.passed.epochs, ...state.passed.figures]));
  if (state.columns) parts.set("columns", state.columns.join("|"));
  for (const name of state.compared) parts.append("compare", name);
  return parts.toString();
}

function writeAddress() {
  ownAddress = address();
  if (ownAddress === location.hash.slice(1)) return;
  history.replaceState(null, "", ownAddress ? `#${ownAddress}` : location.pathname + location.search);
}

// What cannot be read, or names what this report has not, is left out.
function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  Object.assign(state, CHOSEN_AT_FIRST());
  const among = (value, allowed) => (allowed.includes(value) ? value : null);
  const number = (text) => (text !== null && text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : null);
  const list = (text) => { try { const read = JSON.parse(text); return Array.isArray(read) ? read : []; } catch { return []; } };
  state.data = among(parts.get("data"), DATA.datasets) ?? "";
  state.split = among(parts.get("split"), ["val", "test"]) ?? state.split;
  state.colour = among(parts.get("colour"), telling().map((field) => field.key)) ?? state.colour;
  state.cost = among(parts.get("cost"), costs()) ?? state.cost;
  state.search = parts.get("search") ?? "";
  const tolerance = number(parts.get("tolerance"));
  if (tolerance !== null && tolerance >= 0) state.tolerance = tolerance;
  state.every = parts.get("every") === "1";
  const [, minus, sort] = /^(-?)(.*)$/s.exec(parts.get("sort") ?? "");
  if (FIELDS.has(sort)) [state.sort, state.down] = [sort, minus === "-"];
  for (const technique of parts.getAll("without")) if (DATA.techniques.includes(technique)) state.off.add(technique);
  for (const text of parts.getAll("range")) {
    const [low, high] = text.split("|").slice(-2);
    const key = text.split("|").slice(0, -2).join("|");
    const ends = [low === "" ? -Infinity : number(low ?? null), high === "" ? Infinity : number(high ?? null)];
    if (FIELDS.has(key) && !FIELDS.get(key).text && !ends.includes(null) && ends.some(Number.isFinite)) state.ranges.set(key, ends);
  }
  for (const text of parts.getAll("only")) {
    const [key, ...kept] = list(text);
    if (FIELDS.get(key)?.text && kept.every((one) => typeof one === "string")) state.words.set(key, new Set(kept));
  }
  const [name, ...box] = list(parts.get("curve"));
  if (typeof name === "string" && box.length === 4 && box.every(Number.isFinite)) state.passed = { name, epochs: box.slice(0, 2), figures: box.slice(2) };
  const wanted = parts.get("columns")?.split("|").filter((key) => FIELDS.has(key));
  if (wanted?.length) state.columns = [...FIELDS.keys()].filter((key) => wanted.includes(key));
  state.compared = [...new Set(parts.getAll("compare"))].filter((one) => DATA.runs.some((run) => nameOf(run) === one)).slice(-SIDES);
}

window.addEventListener("hashchange", () => {
  if (location.hash.slice(1) === ownAddress) return;
  readAddress();
  drawFilters();
  changed();
});
