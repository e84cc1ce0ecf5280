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
window.addEventListener("beforeprint", drawEverything);

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
let resizing;
window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(draw, 200); });

// What has the focus, to be found again in what is drawn anew: by its id, or by its words within the nearest id.
function keptFocus() {
  const one = document.activeElement;
  if (!one || one === document.body || one.id) return () => {};
  const place = one.closest("[id]")?.id;
  const alike = () => [...document.querySelectorAll(`#${place} ${one.tagName}`)].filter((other) => other.textContent === one.textContent);
  const index = place ? alike().indexOf(one) : -1;
  return () => place && alike()[index]?.focus({ preventScroll: true });
}

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

drawFilters();
near.add("trade-off");
draw();
document.body.dataset.drawn = "true";
requestAnimationFrame(() => setTimeout(() => document.querySelectorAll("main section").forEach((section) => observer.observe(section))));
