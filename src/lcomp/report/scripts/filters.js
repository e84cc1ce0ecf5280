// What the reader leaves out.

function drawFilters() {
  const place = find("filters").firstElementChild;
  place.replaceChildren();
  if (DATA.datasets.length > 1) {
    const select = make("select", { ariaLabel: "Data set", id: "dataset" }); // one at a time: figures of two do not compare
    DATA.datasets.forEach((name) => select.append(make("option", { value: name, textContent: name })));
    if (!DATA.datasets.includes(state.data)) state.data = DATA.datasets[0];
    select.value = state.data;
    select.onchange = () => { state.data = select.value; draw(); };
    place.append(select);
  }
  for (const technique of DATA.techniques) {
    const dot = make("i");
    dot.style.background = look(technique).color;
    const chip = make("button", { className: "chip", type: "button", ariaPressed: String(!state.off.has(technique)) }, dot, technique);
    chip.onclick = () => {
      if (!state.off.delete(technique)) state.off.add(technique);
      chip.ariaPressed = String(!state.off.has(technique));
      draw();
    };
    place.append(chip);
  }
  if (!finished(DATA.runs).length) return;
  const split = make("select", { id: "split", ariaLabel: `${METRIC.words} of` });
  split.append(make("option", { value: "val", textContent: `validation ${METRIC.words}` }), make("option", { value: "test", textContent: `test ${METRIC.words}` }));
  split.value = state.split;
  split.onchange = () => { state.split = split.value; draw(); };
  place.append(split);
}
