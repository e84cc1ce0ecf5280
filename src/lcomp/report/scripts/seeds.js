// Means over seeds.

function drawSeeds() {
  const groups = DATA.groups.filter(anyVisible);
  find("seeds").hidden = !groups.some((group) => group.n > 1);
  if (find("seeds").hidden) return;
  const pm = (mean, spread, scale, digits) => (mean == null ? "" : (scale * mean).toFixed(digits) + (spread == null ? "" : ` ± ${(scale * spread).toFixed(digits)}`));
  const errors = groups.some((group) => group.mce != null);
  const head = ["run", "n", `val${UNIT}`, `test${UNIT}`, "gzip KB", "test over baseline", "95 % interval", ...(errors ? ["test mCE"] : [])];
  const look = (index) => (index === 0 ? "text" : index < 4 ? "" : "wide");
  const body = make("tbody");
  groups.forEach((group) => body.append(make("tr", {}, ...[
    group.label, group.n, pm(group.val, group.val_spread, SCALE, 2), pm(group.test, group.test_spread, SCALE, 2), pm(group.gzip, group.gzip_spread, 1e-3, 2),
    group.difference == null ? "" : `${group.difference > 0 ? "+" : ""}${(100 * group.difference).toFixed(2)}`,
    group.difference == null ? "" : `${(100 * group.low).toFixed(2)} to ${(100 * group.high).toFixed(2)}`,
    ...(errors ? [pm(group.mce, group.mce_spread, 1, 2)] : []),
  ].map((text, index) => make("td", { textContent: text, className: look(index) })))));
  find("seeds").querySelector("table").replaceChildren(
    make("thead", {}, make("tr", {}, ...head.map((text, index) => make("th", { textContent: text, className: look(index) })))), body);
}
