// Which run should I take? Answers on validation examples alone, of the runs that are shown.

// The run or baseline on a front that lies furthest above the chord between its ends, both axes scaled to 0 to 1 and costs
// on a logarithmic scale: the knee of Kneedle (Satopää et al. 2011) without its smoothing. Null of fewer than three.
function knee(best, cost) {
  if (best.length < 3 || !best.every((one) => cost(one) > 0)) return null;
  const unit = (values) => { const [low, high] = [smallest(values), largest(values)]; return values.map((value) => (value - low) / (high - low || 1)); };
  const [x, y] = [unit(best.map((one) => Math.log(cost(one)))), unit(best.map(JUDGED.merit))];
  const above = x.map((across, at) => y[at] - across);
  const furthest = above.indexOf(largest(above));
  return above[furthest] > 1e-9 ? best[furthest] : null;
}

// What runs are held against: the best of the baselines on validation examples.
const bestBaseline = () => baselines().filter((one) => one.val != null).sort((a, b) => meritOf(b.val) - meritOf(a.val))[0];
const allowed = (base) => meritOf(base.val) - (METRIC.percent ? state.tolerance / 100 : (state.tolerance / 100) * Math.abs(base.val));
const sizeKey = () => (["gzip", "ratio", "mce", "val_mce", "macs"].includes(state.cost) ? "gzip" : state.cost);

// For each answer its letter in the charts, its name, and its run, where there is one.
function recommended() {
  if (shown.recommended) return shown.recommended;
  const base = bestBaseline();
  const cost = costOf(sizeKey());
  const compressed = finished(visible()).filter((run) => run.technique !== "baseline" && run.val != null);
  const within = base ? compressed.filter((run) => meritOf(run.val) >= allowed(base) - 1e-12) : [];
  const least = (of) => within.filter((run) => of(run) != null).sort((a, b) => of(a) - of(b) || meritOf(b.val) - meritOf(a.val))[0] ?? null;
  const found = knee(front([...compressed, ...baselines()], cost.at), cost.at);
  return (shown.recommended = {
    base, within: within.length, of: compressed.length, cost,
    answers: [
      { letter: "S", name: "Smallest within the tolerance", run: least(cost.at), why: base ? "None of the runs shown is within the tolerance." : "There is no baseline to hold runs against." },
      { letter: "K", name: "Knee of the front", run: found && found.run == null ? found : null, why: found ? "The knee is a baseline." : "The front has no knee: fewer than three points, or none above the chord." },
      { letter: "F", name: "Fastest within the tolerance", run: least((run) => run.ratio), why: within.length ? "None within the tolerance has a latency." : base ? "None of the runs shown is within the tolerance." : "There is no baseline to hold runs against." },
    ],
  });
}

// Where the answers lie in a chart: a ring and a letter each, one ring for a run that answers more.
function recommendedMarks(x, y) {
  const marks = new Map();
  for (const { letter, run } of recommended().answers) if (run && x(run) != null && y(run) != null) marks.set(run, (marks.get(run) ?? "") + letter);
  if (!marks.size) return [];
  const runs = [...marks.keys()];
  return [{
    type: "scatter", mode: "markers+text", name: "recommended", hoverinfo: "skip", cliponaxis: false,
    x: runs.map(x), y: runs.map(y), text: runs.map((run) => marks.get(run)), customdata: runs.map((run) => run.id),
    textposition: runs.map((run) => ({ S: "top center", K: "bottom right", F: "top right" })[marks.get(run)[0]]),
    textfont: { size: 13, color: "#a4262c", weight: 700 },
    marker: { symbol: "circle-open", size: 17, color: "#a4262c", line: { width: 2 } },
  }];
}

function drawAnswer() {
  const { base, within, of, cost, answers } = recommended();
  find("answer").hidden = !of;
  if (!of) return;
  const unit = METRIC.percent ? "points" : "%";
  find("tolerance-unit").textContent = METRIC.percent ? `points of validation ${METRIC.words}` : `% of the best baseline's validation ${METRIC.words}`;
  find("tolerance-slider").max = METRIC.percent ? 5 : 20;
  for (const id of ["tolerance", "tolerance-slider"]) if (Number(find(id).value) !== state.tolerance) find(id).value = state.tolerance;
  const size = cost.field.axis.replace(/^size |, KB$/g, "");
  find("answer-note").textContent = base
    ? `${within} of ${of} compressed runs ${of === 1 ? "is" : "are"} within ${brief(state.tolerance)} ${unit} of the best baseline's ${figure(base.val)}${UNIT} on validation examples; test examples choose nothing. Size: ${size}.`
    : `${of} compressed runs, and no baseline to hold them against. Size: ${size}.`;
  find("nothing-within").textContent = base && !within
    ? `Nothing is within the tolerance: no run shown keeps ${METRIC.words} ${METRIC.higher_is_better ? "at" : "down to"} ${figure(meritOf(allowed(base)))}${UNIT} or better. Raise it, or take filters away.` : "";
  const cards = new Map();
  for (const answer of answers) {
    const key = answer.run ? answer.run.id : answer.name;
    if (cards.has(key)) cards.get(key).push(answer);
    else cards.set(key, [answer]);
  }
  find("cards").replaceChildren(...[...cards.values()].map((several) => card(several, base, cost)));
}

function card(answers, base, cost) {
  const { run, why } = answers[0];
  const heading = make("h3", {}, ...answers.flatMap(({ letter, name }, index) => [...(index ? [" "] : []), make("b", { className: "letter", textContent: letter }), ` ${name}`]));
  if (!run) return make("article", { className: "card" }, heading, make("p", { className: "soft", textContent: why }));
  const from = (value, other, digits = 2) => (value == null || other == null ? "" : ` (${signed(SCALE * (value - other), digits)})`);
  const facts = [
    ["validation", `${figure(run.val)}${UNIT}${from(run.val, base?.val)}`],
    ["test", `${figure(run.test)}${UNIT}${from(run.test, base?.test)}`],
    [cost.field.title, cost.field.show(run)],
    ...(cost.key !== "gzip" ? [["gzip KB", kilobytes(run.gzip)]] : []),
    ...(run.smaller ? [["smaller", `${run.smaller.toFixed(1)}x`]] : []),
    ...(run.ratio != null ? [["latency", `${run.ratio.toFixed(2)}x its baseline's`]] : []),
  ];
  const details = make("button", { className: "open", type: "button", textContent: run.label });
  details.onclick = () => open(run.id);
  const command = make("pre", { textContent: run.command });
  return make("article", { className: "card" }, heading, make("p", {}, details),
    make("dl", {}, ...facts.map(([term, text]) => make("div", {}, make("dt", { textContent: term }), make("dd", { textContent: text })))),
    command,
    make("p", { className: "tools" }, copyButton(run.command, command), ...(run.artifact ? [make("a", { href: run.artifact, textContent: "artifact" })] : []), make("a", { href: run.record, textContent: "record" })));
}

const signed = (number, digits = 2) => `${number > 0 ? "+" : number < 0 ? "−" : ""}${METRIC.percent ? Math.abs(number).toFixed(digits) : brief(Math.abs(number))}`;

// Copies a text; where the browser refuses, selects it for the reader to copy.
function copyButton(text, shownIn) {
  const button = make("button", { className: "button", type: "button", textContent: "Copy" });
  button.onclick = async (event) => {
    event.stopPropagation();
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(shownIn);
      button.textContent = "Selected: now copy it";
    }
  };
  return button;
}
