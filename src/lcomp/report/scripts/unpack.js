"use strict";
// Of a large report the data, Plotly and the page's scripts stand compressed in the page. Gives them back, and runs the
// scripts as if they stood there themselves.

async function unpacked(id) {
  const letters = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

// The rows of packed_data.columns, their keys in the order that they had.
function rowsOf({ shapes, shape, columns }) {
  const values = new Map(Object.entries(columns).map(([key, column]) => [key, (Array.isArray(column) ? column : rowsOf(column)).values()]));
  return shape.map((number) => Object.fromEntries(shapes[number].map((key) => [key, values.get(key).next().value])));
}

async function start() {
  if (!window.DecompressionStream) throw new Error("it has no DecompressionStream");
  const [data, ...scripts] = await Promise.all(["data", "plotly", "script"].map(unpacked));
  const packed = JSON.parse(data);
  window.packedData = { ...packed, runs: rowsOf(packed.runs) };
  for (const text of scripts) document.body.append(Object.assign(document.createElement("script"), { textContent: text }));
}

start().catch((error) => {
  document.getElementById("summary").textContent = `This browser cannot open so large a report (${error.message}); results.csv and results.parquet beside it have every run.`;
});
