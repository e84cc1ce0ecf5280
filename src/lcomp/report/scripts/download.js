// Charts as PNG and SVG, the filtered table as CSV.

function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// A box for a chart, with what saves it below.
function frameChart(chart) {
  const buttons = ["PNG", "SVG"].map((format) => {
    const button = make("button", { className: "save", type: "button", textContent: format, title: `Save this chart as ${format}` });
    button.onclick = async () => {
      const text = await Plotly.toImage(chart, { format: format.toLowerCase(), width: chart.clientWidth, height: chart.clientHeight, scale: format === "PNG" ? 2 : 1 });
      save(`${chart.id || "chart"}.${format.toLowerCase()}`, format === "SVG"
        ? new Blob([decodeURIComponent(text.slice(text.indexOf(",") + 1))], { type: "image/svg+xml" })
        : new Blob([Uint8Array.from(atob(text.slice(text.indexOf(",") + 1)), (one) => one.charCodeAt(0))], { type: "image/png" }));
    };
    return button;
  });
  const frame = make("div", { className: "plot" });
  chart.replaceWith(frame);
  frame.append(chart, make("div", { className: "saves" }, ...buttons));
  return frame;
}

// A cell of RFC 4180; a text that a spreadsheet would compute begins with an apostrophe, numbers do not.
function csvCell(value) {
  if (value == null) return "";
  let text = typeof value === "object" ? JSON.stringify(value) : String(value);
  if (typeof value === "string" && /^\s*[=+@-]|[\t\n]/.test(text) && !/^[-+]?\d*\.?\d+(e[-+]?\d+)?%?$/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// The runs of the table with all columns, shown or not, in the records' own units and digits.
function csv() {
  const fields = [...FIELDS.values()].filter((field) => field.key !== "status");
  const heads = [...fields.map((field) => field.exact ?? (field.group === "Configuration" ? field.title : field.key)), "status", "error", "folder", "command"];
  const cells = (run) => [...fields.map((field) => (field.exact ? figureOf(run, field.exact) : field.value(run))), run.status, run.error, nameOf(run), run.command];
  return [heads, ...matching().map(cells)].map((line) => line.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

find("csv").onclick = () => save("runs.csv", new Blob([csv()], { type: "text/csv" }));
