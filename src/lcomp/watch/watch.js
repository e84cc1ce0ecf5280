// Above the report what runs now, asked of `lcomp watch` every two seconds; what is new goes to `lcomp.update`. Labels and
// logs reach the page as text only.

(() => {
  const EVERY = 2000; // ms between two questions
  const HIDDEN = 20000; // while nobody sees the page
  const SILENT = 60; // seconds without a sign of life that are worth a word
  const LINES = 2000; // of a log that are kept
  let version = WATCHED.version;
  let timer;
  let lost; // when the server stopped answering
  let followed; // the run whose log is shown: { key, next }
  const blocks = new Map(); // of sweeps, by their keys

  const trouble = make("p", { className: "error", id: "watched-trouble", role: "status" });
  const log = make("section", { id: "watched-log", hidden: true });
  const logTitle = make("h2");
  const logText = make("pre", { tabIndex: 0 });
  const close = make("button", { className: "button", type: "button", textContent: "Close the log" });
  log.append(logTitle, logText, close);
  const panel = make("div", { id: "watched" }, trouble, log);
  document.querySelector("header").after(panel);
  close.onclick = () => { followed = undefined; log.hidden = true; };

  function duration(seconds) {
    if (seconds < 60) return `${Math.round(seconds)} s`;
    return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
  }

  function block(key) {
    if (blocks.has(key)) return blocks.get(key);
    const made = {
      title: make("h2"), line: make("p", { className: "soft" }), bar: make("progress"),
      table: make("table"), body: make("tbody"), ended: make("ul", { className: "logs" }), rows: new Map(),
    };
    const head = make("tr", {}, ...["run", "what it does", "validation", "for", "", ""].map((text, index) => make("th", { className: index < 2 ? "text" : "", textContent: text })));
    made.table.append(make("thead", {}, head), made.body);
    made.place = make("section", { className: "sweep" }, made.title, made.bar, made.line, make("div", { className: "scroll" }, made.table), made.ended);
    log.before(made.place);
    blocks.set(key, made);
    return made;
  }

  function summary(sweep) {
    const { interrupted = 0, ...rest } = sweep.counts;
    const ended = Object.values(rest).reduce((sum, count) => sum + count, 0);
    const kinds = Object.entries(rest).map(([kind, count]) => `${count} ${kind}`).join(", ");
    const parts = [`${ended}${sweep.total == null ? "" : ` of ${sweep.total}`} runs ended${kinds && ` (${kinds})`}`];
    if (interrupted) parts.push(`${interrupted} interrupted`);
    if (sweep.alive === false) {
      if (sweep.unrecorded) parts.push(`${sweep.unrecorded} without a record`);
      if (sweep.queued) parts.push(`${sweep.queued} not run`);
      parts.push("no process of this machine carries the sweep out");
    } else {
      parts.push(`${sweep.unrecorded} running`);
      if (sweep.queued != null) parts.push(`${sweep.queued} queued`);
      parts.push(`for ${duration(sweep.elapsed)}`);
      if (sweep.left != null) parts.push(`about ${duration(sweep.left)} left`);
    }
    return { ended, text: parts.join(", ") };
  }

  function doing(run) {
    const told = run.progress;
    const silent = run.silent > SILENT ? `; no sign for ${duration(run.silent)}` : "";
    if (run.stopping) return `ends, as you asked${silent}`;
    if (!told) return `before its own training: data, baseline, teachers${silent}`;
    if (told.step >= told.steps) return `trained: export, measurement${silent}`;
    return `epoch ${told.epoch} of ${told.epochs}, ${Math.floor((100 * told.step) / told.steps)} %${silent}`;
  }

  function row(of, key) {
    if (of.rows.has(key)) return of.rows.get(key);
    const made = {
      name: make("td", { className: "text" }), doing: make("td", { className: "doing" }), value: make("td"), elapsed: make("td"),
      log: make("button", { className: "button", type: "button", textContent: "Log" }),
      stop: make("button", { className: "button", type: "button", textContent: "Stop" }),
    };
    made.place = make("tr", {}, made.name, made.doing, made.value, made.elapsed, make("td", {}, made.log), make("td", {}, ...(WATCHED.may_stop ? [made.stop] : [])));
    made.place.dataset.run = key;
    of.body.append(made.place);
    of.rows.set(key, made);
    return made;
  }

  function showSweep(sweep) {
    const of = block(sweep.key);
    const { ended, text } = summary(sweep);
    of.title.textContent = sweep.name;
    of.line.textContent = text;
    of.bar.hidden = !sweep.total;
    of.bar.max = sweep.total || 1;
    of.bar.value = ended;
    of.table.hidden = !sweep.running.length;
    const running = new Set(sweep.running.map((run) => run.key));
    for (const [key, gone] of of.rows) if (!running.has(key) && of.rows.delete(key)) gone.place.remove();
    for (const run of sweep.running) {
      const its = row(of, run.key);
      its.name.textContent = `${run.number} ${run.label}`;
      its.doing.textContent = doing(run);
      its.value.textContent = run.progress?.value == null ? "" : `${run.progress.metric} ${+run.progress.value.toPrecision(4)}`;
      its.elapsed.textContent = duration(run.elapsed);
      its.log.onclick = () => follow(run);
      its.stop.disabled = run.stopping;
      its.stop.onclick = () => stop(run);
    }
    const shown = sweep.ended.map((run) => `${run.number}: ${run.status}`).join();
    if (of.shown === shown) return; // a button that is about to be clicked stays
    of.shown = shown;
    const links = sweep.ended.map((run) => {
      const link = make("button", { className: "open", type: "button", title: run.label, textContent: `log of ${run.number} (${run.status})` });
      link.onclick = () => follow(run);
      return make("li", {}, link);
    });
    of.ended.replaceChildren(...links);
  }

  async function stop(run) {
    const sure = `End run ${run.number} (${run.label})?\n\nThe sweep goes on. The run's record says that you stopped it, and resume= does not run it again.`;
    if (!window.confirm(sure)) return;
    const answer = await fetch(`stop?run=${encodeURIComponent(run.key)}`, { method: "POST", headers: { "X-Lcomp-Token": WATCHED.token } });
    if (!answer.ok) window.alert(`Run ${run.number}: ${await answer.text()}`);
    ask();
  }

  function follow(run) {
    followed = { key: run.key, next: "" };
    logTitle.textContent = `Log of run ${run.number}`;
    logText.textContent = "";
    log.hidden = false;
    ask();
  }

  async function readLog() {
    const of = followed;
    const from = of.next;
    const answer = await fetch(`log?run=${encodeURIComponent(of.key)}&from=${from}`);
    if (followed !== of || of.next !== from) return; // another log, or this piece, was asked for meanwhile
    if (!answer.ok) {
      logText.textContent = await answer.text();
      followed = undefined;
      return;
    }
    const { text, next, skipped } = await answer.json();
    const atEnd = logText.scrollTop + logText.clientHeight >= logText.scrollHeight - 4;
    const lines = `${logText.textContent}${skipped ? `[${skipped} bytes before]\n` : ""}${text}`.split("\n");
    logText.textContent = lines.slice(-LINES).join("\n");
    if (atEnd) logText.scrollTop = logText.scrollHeight;
    of.next = next;
  }

  async function answered() {
    try {
      const answer = await fetch(`state?version=${version}`);
      if (answer.ok) return await answer.json();
    } catch { /* it has ended, or the machine sleeps */ }
    return undefined;
  }

  async function ask() {
    clearTimeout(timer);
    try {
      const state = await answered();
      if (!state) {
        lost ??= new Date().toLocaleTimeString();
        trouble.textContent = `lcomp watch does not answer since ${lost}; what stands here is as it was then`;
        return;
      }
      lost = undefined;
      trouble.textContent = "";
      if (state.data) window.lcomp.update(state.data);
      version = state.version;
      state.sweeps.forEach(showSweep);
      if (followed) await readLog();
    } finally {
      clearTimeout(timer);
      timer = setTimeout(ask, document.hidden ? HIDDEN : EVERY);
    }
  }

  document.addEventListener("visibilitychange", () => document.hidden || ask());
  ask();
})();
