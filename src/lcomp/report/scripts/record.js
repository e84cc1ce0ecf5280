// A run's own record.

function facts(title, pairs) {
  const table = make("table");
  table.append(make("thead", {}, make("tr", {}, ...title.map((text, index) => make("th", { className: index ? "" : "text", textContent: text })))));
  const body = make("tbody");
  pairs.forEach((cells) => body.append(make("tr", {}, ...cells.map((text, index) => make("td", { className: index ? "" : "text", textContent: text })))));
  table.append(body);
  return make("div", { className: "scroll" }, table);
}

function open(id, ofBaseline = false) {
  const run = DATA.runs[id];
  const show = (value) => (typeof value === "number" && !Number.isInteger(value) ? String(+value.toPrecision(6)) : String(value ?? ""));
  const base = ownBase(run);
  const place = find("record").lastElementChild;
  const command = make("pre", { textContent: run.command });
  place.replaceChildren(
    make("h3", { textContent: ofBaseline ? `The baseline of ${run.label}` : run.label }),
    make("p", { className: "soft", textContent: `${run.status}, ${run.data || "no data"}, seed ${run.seed}, ${run.technique}${run.trial == null ? "" : `, trial ${run.trial}`}` }),
    ...(run.error ? [make("p", { className: "error", textContent: run.error })] : []),
    ...(run.reused ? [make("p", { className: "soft", textContent: `taken from ${run.reused}, where it was measured` })] : []),
    make("p", {}, "To run it again: ", copyButton(run.command, command)),
    command,
    make("p", {}, make("a", { href: run.record, textContent: "result.json" }), ...(run.artifact ? [" and ", make("a", { href: run.artifact, textContent: "the artifact" })] : []), " beside this page"),
    ...(Object.keys(run.metrics).length ? [facts(["metric", "run", "baseline"], Object.keys(run.metrics).map((key) => [key, show(run.metrics[key]), show(base[key])]))] : []),
    ...(Object.keys(run.params).length ? [facts(["parameter", "value"], Object.entries(run.params).map(([key, value]) => [key, show(value)]))] : []),
  );
  find("record").showModal();
}
