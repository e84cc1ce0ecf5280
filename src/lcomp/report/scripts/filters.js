// What the reader keeps and leaves out, for every chart, table and recommendation alike.

function drawFilters() {
  const place = find("filters").querySelector(".choices");
  place.replaceChildren();
  if (DATA.datasets.length > 1) {
    const select = make("select", { ariaLabel: "Data set", id: "dataset" }); // one at a time: figures of two do not compare
    DATA.datasets.forEach((name) => select.append(make("option", { value: name, textContent: name })));
    if (!DATA.datasets.includes(state.data)) state.data = DATA.datasets[0];
    select.value = state.data;
    select.onchange = () => { state.data = select.value; changed(); };
    place.append(select);
  } else state.data = "";
  for (const technique of DATA.techniques) {
    const dot = make("i");
    if (state.colour === "technique") dot.style.background = look(technique).color;
    const chip = make("button", { className: "chip", type: "button", ariaPressed: String(!state.off.has(technique)) }, ...(state.colour === "technique" ? [dot] : []), technique);
    chip.onclick = () => {
      if (!state.off.delete(technique)) state.off.add(technique);
      chip.ariaPressed = String(!state.off.has(technique));
      changed();
    };
    place.append(chip);
  }
  if (finished(DATA.runs).length) {
    const split = make("select", { id: "split", ariaLabel: `${METRIC.words} of` });
    split.append(make("option", { value: "val", textContent: `validation ${METRIC.words}` }), make("option", { value: "test", textContent: `test ${METRIC.words}` }));
    split.value = state.split;
    split.onchange = () => { state.split = split.value; changed(); };
    place.append(split);
  }
  drawRanges();
  drawColours();
}

// ---- by the range of a number, by the choice of a word

function drawRanges() {
  const select = find("by");
  const before = select.value;
  const fields = telling();
  select.replaceChildren(make("option", { value: "", textContent: "choose …" }));
  grouped(select, fields);
  select.value = fields.some((field) => field.key === before) ? before : "";
  select.closest("label").hidden = !fields.length;
  drawEditor();
}

function drawEditor() {
  const place = find("editor");
  const field = FIELDS.get(find("by").value);
  place.replaceChildren();
  place.hidden = !field;
  if (!field) return;
  if (field.text) {
    const counts = new Map();
    for (const run of DATA.runs.filter(ofData)) counts.set(word(field, run), (counts.get(word(field, run)) ?? 0) + 1);
    for (const [one, count] of [...counts].sort(([a], [b]) => a.localeCompare(b, undefined, { numeric: true }))) {
      const box = make("input", { type: "checkbox", checked: state.words.get(field.key)?.has(one) ?? true });
      box.onchange = () => {
        const kept = state.words.get(field.key) ?? new Set(counts.keys());
        if (box.checked) kept.add(one);
        else kept.delete(one);
        if (kept.size === counts.size) state.words.delete(field.key);
        else state.words.set(field.key, kept);
        changed();
      };
      place.append(make("label", {}, box, `${one || "none"} (${count})`));
    }
  } else {
    const values = known(DATA.runs.filter(ofData).map((run) => displayed(field, run)));
    const ends = [smallest(values), largest(values)];
    ["from", "to"].forEach((words, side) => {
      const input = make("input", { type: "number", step: "any", id: `range-${words}`, placeholder: brief(ends[side]), ariaLabel: `${field.title} ${words}` });
      const range = state.ranges.get(field.key);
      if (range && Number.isFinite(range[side])) input.value = range[side];
      input.oninput = () => {
        const now = [...(state.ranges.get(field.key) ?? [-Infinity, Infinity])];
        now[side] = input.value === "" ? [-Infinity, Infinity][side] : Number(input.value);
        if (now.every((end) => !Number.isFinite(end))) state.ranges.delete(field.key);
        else state.ranges.set(field.key, now);
        changed();
      };
      place.append(make("label", {}, words, " ", input));
    });
  }
  const done = make("button", { className: "button", type: "button", textContent: "Done" });
  done.onclick = () => { find("by").value = ""; drawEditor(); };
  place.append(done);
}

// What filters there are, each to be taken away.
function drawActive() {
  const place = find("active");
  const chips = [];
  const chip = (text, remove) => {
    const made = make("button", { className: "chip active", type: "button", title: "Take this filter away" }, text, make("span", { ariaHidden: "true", textContent: " ×" }));
    made.onclick = () => { remove(); drawFilters(); changed(); };
    chips.push(made);
  };
  for (const technique of state.off) chip(`without ${technique}`, () => state.off.delete(technique));
  for (const [key, [low, high]] of state.ranges) {
    const words = !Number.isFinite(low) ? `at most ${brief(high)}` : !Number.isFinite(high) ? `at least ${brief(low)}` : `${brief(low)} to ${brief(high)}`;
    chip(`${FIELDS.get(key).title}: ${words}`, () => state.ranges.delete(key));
  }
  for (const [key, kept] of state.words) chip(`${FIELDS.get(key).title}: ${[...kept].map((one) => one || "none").join(", ") || "nothing"}`.slice(0, 120), () => state.words.delete(key));
  if (state.passed) {
    const { name, epochs, figures } = state.passed;
    chip(`${name} ${figures.map(brief).join(" to ")} in epochs ${epochs.map(brief).join(" to ")}`, () => { state.passed = null; });
  }
  if (chips.length) {
    const clear = make("button", { className: "button", type: "button", textContent: "Clear all" });
    clear.onclick = () => { clearFilters(); drawFilters(); changed(); };
    chips.push(clear, make("span", { className: "soft", role: "status", textContent: `${visible().length} of ${DATA.runs.filter(ofData).length} runs` }));
  }
  place.hidden = !chips.length;
  place.replaceChildren(...chips);
}

function clearFilters() {
  state.off.clear();
  state.ranges.clear();
  state.words.clear();
  state.passed = null;
}

// ---- what colours say

function drawColours() {
  const select = find("colour");
  const fields = telling().filter((field) => field.key !== "technique");
  select.replaceChildren(make("option", { value: "technique", textContent: "technique" }));
  grouped(select, fields);
  if (!fields.some((field) => field.key === state.colour)) state.colour = "technique";
  select.value = state.colour;
  select.closest("label").hidden = !fields.length;
  const { field, words, low, high } = colours();
  const legend = find("legend");
  if (field && !field.text) {
    const bar = make("i", { className: "ramp" });
    bar.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(ramp).join(", ")})`;
    legend.replaceChildren(brief(low), bar, brief(high));
  } else legend.replaceChildren(...words.map(([text, colour]) => {
    const dot = make("i", { className: "dot" });
    dot.style.background = colour;
    return make("span", {}, dot, text);
  }));
}
