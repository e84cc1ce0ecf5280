// Sections are drawn when they come near the window: a thousand runs open at once.

const SECTIONS = {
  answer: drawAnswer,
  "trade-off": () => { drawFronts(); drawFrontTable(); },
  effects: drawEffects,
  parallel: drawCoordinates,
  seeds: drawSeeds,
  mce: drawErrors,
  perturbed: drawPerturbations,
  pies: drawPies,
  comparison: drawComparison,
  runs: () => { drawTable(); drawColumns(); },
  learning: drawCurves,
  weights: drawWeights,
  study: drawStudy,
};
const stale = new Set();
const near = new Set();

// What had the focus has it again: it may have come here before the section was drawn anew.
function refresh(id) {
  if (!stale.delete(id)) return;
  const focus = keptFocus();
  SECTIONS[id]();
  focus();
}

function draw() {
  shown = {};
  for (const section of document.querySelectorAll("main section")) {
    if (!SECTIONS[section.id]) continue;
    section.hidden = false; // what has nothing to show hides itself when it is drawn
    stale.add(section.id);
  }
  near.forEach(refresh);
}

// A choice of the reader's that changes what is shown.
function changed() {
  draw();
  drawActive();
  writeAddress();
}

// One that changes no more than a part; what had the focus has it again.
function redrawn(part) {
  const focus = keptFocus();
  part();
  writeAddress();
  focus();
}

function drawEverything() {
  [...stale].forEach(refresh);
}

const MARGIN = 150; // px
const observer = new IntersectionObserver((entries) => {
  for (const { target } of entries) {
    const box = target.getBoundingClientRect(); // as it is now: those before it may have grown
    if (box.top < window.innerHeight + MARGIN && box.bottom > -MARGIN) {
      near.add(target.id);
      refresh(target.id);
    } else near.delete(target.id);
  }
}, { rootMargin: `${MARGIN}px`, threshold: [0, 0.01] });

find("zoom").onclick = () => { state.every = !state.every; redrawn(drawZoom); };
function drawZoom() {
  sayZoom();
  drawFronts();
}
function sayZoom() {
  find("zoom").ariaPressed = String(state.every);
  find("zoom").textContent = state.every ? "Show the front" : "Show every run";
}
for (const id of ["tolerance", "tolerance-slider"]) {
  find(id).oninput = (event) => {
    const value = Number(event.target.value);
    if (event.target.value === "" || !(value >= 0)) return;
    state.tolerance = value;
    changed();
  };
}
find("cost").onchange = (event) => { state.cost = event.target.value; changed(); };
find("by").onchange = drawEditor;
find("colour").onchange = (event) => { state.colour = event.target.value; shown = {}; drawFilters(); changed(); };
find("columns-reset").onclick = () => { state.columns = null; redrawn(() => { drawTable(); drawColumns(); }); };
find("search").oninput = (event) => { state.search = event.target.value; state.rows = PAGE; redrawn(drawTable); };
find("more").onclick = () => { state.rows += PAGE; drawTable(); };
find("compare-clear").onclick = () => { state.compared = []; redrawn(() => { drawComparison(); drawTable(); }); };
find("compare-go").onclick = () => { refresh("comparison"); find("comparison").scrollIntoView(); };
find("curve").onchange = drawCurves;
find("weights-of").onchange = drawWeights;
find("against").onchange = drawErrors;
for (const id of ["perturbed-set", "perturbed-severity", "perturbed-shown"]) find(id).onchange = drawPerturbations;
find("pies-of").onchange = () => { state.pies = PICTURES; drawPies(); };
find("more-pies").onclick = () => { state.pies += PICTURES; drawPies(); };
find("record").querySelector(".close").onclick = () => find("record").close();
find("skip").onclick = (event) => { event.preventDefault(); find("content").focus(); find("content").scrollIntoView(); }; // the address stays
let resizing;
window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(draw, 200); });

// What has the focus, to be found again in what is drawn anew: by its id, or by its words within the nearest id.
function keptFocus() {
  const one = document.activeElement;
  if (!one || one === document.body) return () => {};
  if (one.id) return () => document.activeElement !== find(one.id) && find(one.id)?.focus({ preventScroll: true });
  const place = one.closest("[id]")?.id;
  const words = (other) => other.textContent || other.ariaLabel || other.parentElement.textContent;
  const said = words(one);
  const alike = () => [...document.querySelectorAll(`#${place} ${one.tagName}`)].filter((other) => words(other) === said);
  const index = place ? alike().indexOf(one) : -1;
  return () => place && !one.isConnected && alike()[index]?.focus({ preventScroll: true });
}

// New data, with whatever the reader has chosen, scrolled to and focused as it was.
function update(data) {
  const [focus, scrolled] = [keptFocus(), window.scrollY];
  take(data);
  defineFields();
  for (const kept of [state.ranges, state.words]) for (const key of kept.keys()) if (!FIELDS.has(key)) kept.delete(key);
  shown = {};
  find("summary").textContent = DATA.summary;
  drawFilters();
  changed();
  window.scrollTo(0, scrolled);
  focus();
}
window.lcomp = { update };

// ---- light, dark, paper

function recolour() {
  applyScheme();
  find("scheme").textContent = isDark() ? "Light page" : "Dark page";
  draw();
  redrawn(drawFilters);
}

// Every chart is drawn at the width of the paper before it is printed, and again at the window's afterwards.
function toPaper(printing) {
  if (scheme.printing === printing) return;
  scheme.printing = printing;
  recolour();
  drawEverything();
  const record = find("record");
  if (printing && (scheme.covered = record.open)) record.close(); // it would cover every sheet
  else if (!printing && scheme.covered) record.showModal();
}

find("scheme").onclick = () => {
  scheme.asked = isDark() ? "light" : "dark";
  keepScheme();
  recolour();
};
SYSTEM.onchange = recolour;
PAPER.onchange = () => toPaper(PAPER.matches);
window.addEventListener("beforeprint", () => toPaper(true));
window.addEventListener("afterprint", () => toPaper(false));

readAddress();
drawFilters();
near.add("answer").add("trade-off");
recolour();
drawActive();
drawComparison();
sayZoom();
document.querySelectorAll(".chart").forEach(frameChart);
document.body.dataset.drawn = "true";
requestAnimationFrame(() => setTimeout(() => document.querySelectorAll("main section").forEach((section) => observer.observe(section))));
