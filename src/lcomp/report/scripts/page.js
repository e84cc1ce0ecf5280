// Sections are drawn when they come near the window: a thousand runs open at once.

const SECTIONS = {
  "trade-off": () => { drawFronts(); drawFrontTable(); },
  effects: drawEffects,
  parallel: drawCoordinates,
  seeds: drawSeeds,
  mce: drawErrors,
  perturbed: drawPerturbations,
  pies: drawPies,
  runs: drawTable,
  learning: drawCurves,
  weights: drawWeights,
  study: drawStudy,
};
const stale = new Set();
const near = new Set();

function refresh(id) {
  if (stale.delete(id)) SECTIONS[id]();
}

function draw() {
  for (const section of document.querySelectorAll("main section")) {
    if (!SECTIONS[section.id]) continue;
    section.hidden = false; // what has nothing to show hides itself when it is drawn
    stale.add(section.id);
  }
  near.forEach(refresh);
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

find("zoom").onclick = () => {
  state.every = !state.every;
  find("zoom").ariaPressed = String(state.every);
  find("zoom").textContent = state.every ? "Show the front" : "Show every run";
  drawFronts();
};
find("search").oninput = (event) => { state.search = event.target.value; state.rows = PAGE; drawTable(); };
find("more").onclick = () => { state.rows += PAGE; drawTable(); };
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

// New data, with whatever the reader has chosen, scrolled to and focused as it was.
function update(data) {
  const [focus, scrolled] = [keptFocus(), window.scrollY];
  take(data);
  find("summary").textContent = DATA.summary;
  drawFilters();
  draw();
  window.scrollTo(0, scrolled);
  focus();
}
window.lcomp = { update };

// ---- light, dark, paper

function recolour() {
  applyScheme();
  find("scheme").textContent = isDark() ? "Light page" : "Dark page";
  draw();
}

// Every chart is drawn at the width of the paper before it is printed, and again at the window's afterwards.
function toPaper(printing) {
  if (scheme.printing === printing) return;
  scheme.printing = printing;
  recolour();
  drawEverything();
  for (const chart of document.querySelectorAll(".chart.js-plotly-plot")) if (!chart.hidden) Plotly.Plots.resize(chart);
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

drawFilters();
near.add("trade-off");
recolour();
document.body.dataset.drawn = "true";
requestAnimationFrame(() => setTimeout(() => document.querySelectorAll("main section").forEach((section) => observer.observe(section))));
