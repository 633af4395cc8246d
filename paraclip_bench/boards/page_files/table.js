// The table of scores, where its numbers are from, and its data for download.
const view = { sort: null, up: false, model: "", title: "", family: "", verdict: "", intervals: true,
  differences: true };

function shownColumns() {
  return DATA.columns.filter((column) => (!view.title || column.title === view.title)
    && (!view.family || column.family === view.family));
}
function shownModels(columns) {
  const kept = DATA.models.filter((model) => {
    if (view.model && !model.name.toLowerCase().includes(view.model)) return false;
    if (!view.verdict || model.isBase) return true;
    return columns.some((c) => kindOf(model.cells[c.index]?.difference) === view.verdict
      && model.cells[c.index]?.difference);
  });
  if (view.sort === null) return kept;
  const rank = RANKS.find((each) => each.key === view.sort);
  const key = view.sort === "name" ? (m) => m.name.toLowerCase()
    : rank ? (m) => valueOf(rank.of(m))
      : (m) => valueOf(m.cells[view.sort]?.estimate);
  // What has no number is last, whichever way.
  return [...kept].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return (x < y ? -1 : x > y ? 1 : 0) * (view.up ? 1 : -1);
  });
}
// The first press sorts the best first.
const bestIsUp = (key) => typeof key === "string" || DATA.columns[key].lower;

function sortHeader(key, text, options) {
  const isSorted = view.sort === key;
  const order = isSorted ? (view.up ? "ascending" : "descending") : "none";
  const press = () => {
    view.up = isSorted ? !view.up : bestIsUp(key);
    view.sort = key;
    drawTable();
    document.querySelector(`[data-sort="${key}"]`).focus();
  };
  return el("th", { scope: "col", "aria-sort": order, ...options },
    el("button", { class: "sort", type: "button", "data-sort": key, onclick: press }, text,
      el("span", { class: "arrow", "aria-hidden": "true" },
        isSorted ? (view.up ? "↑" : "↓") : "↕")));
}
function groupsOf(columns, of = (column) => `${column.family}/${column.title}`) {
  const groups = [];
  for (const column of columns) {
    const last = groups[groups.length - 1];
    if (last && of(last.columns[0]) === of(column)) last.columns.push(column);
    else groups.push({ title: column.title, columns: [column] });
  }
  return groups;
}
function scoreCell(model, column, isFirst) {
  const cell = model.cells[column.index];
  const edge = isFirst ? " first" : "";
  if (!cell) return el("td", { class: `number${edge}` }, "–");
  const { estimate, difference } = cell;
  const lines = [el("span", { class: "value" }, points(estimate[0]))];
  if (cell.isBest) lines.push(" ", el("span", { "aria-hidden": "true" }, "★"),
    el("span", { class: "sr" }, " best"));
  if (cell.isTied) lines.push(" ", el("span", { title: "cannot be told from the best" }, "≈"));
  if (view.intervals && estimate.length > 1)
    lines.push(el("span", { class: "cell-line" }, interval(estimate)));
  if (view.differences && difference) {
    lines.push(el("span", { class: "cell-line" }, signed(difference.estimate[0]), " ",
      view.intervals ? interval(difference.estimate, signed) : ""));
    lines.push(verdictMark(difference, true));
  }
  const open = () => openModel(model, column);
  return el("td", { class: `number can-open${edge}${cell.isBest ? " best" : ""}`,
    onclick: open }, lines);
}
// Rows stay while only their order changes: a large table is made once.
const made = { of: "", rows: new Map() };
function rankCell(rank) {
  if (!rank) return el("td", { class: "number" }, "–");
  return el("td", { class: "number" }, el("span", { class: "value" }, rank[0].toFixed(1)),
    view.intervals && rank.length > 1 ? el("span", { class: "cell-line" },
      `[${rank[1].toFixed(1)}, ${rank[2].toFixed(1)}]`) : null);
}
function rowOf(model, columns, firsts) {
  const now = JSON.stringify([view.title, view.family, view.intervals, view.differences]);
  if (made.of !== now) Object.assign(made, { of: now, rows: new Map() });
  if (!made.rows.has(model)) made.rows.set(model, el("tr", {},
    el("th", { scope: "row" },
      el("button", { class: "name", type: "button", onclick: () => openModel(model) }, model.name),
      model.isBase ? el("span", { class: "tag" }, "baseline") : null),
    RANKS.map((rank) => rankCell(rank.of(model))),
    columns.map((column) => scoreCell(model, column, firsts.has(column.index)))));
  return made.rows.get(model);
}
function drawTable() {
  const columns = shownColumns(), models = shownModels(columns), groups = groupsOf(columns);
  // Beside the names there is a line already.
  const firsts = new Set(groups.slice(RANKS.length ? 0 : 1).map((g) => g.columns[0].index));
  const rowspan = FAMILIES.length ? 3 : 2;
  const over = (group, title) => el("th", { scope: "colgroup",
    class: firsts.has(group.columns[0].index) ? "group first" : "group", title,
    colspan: group.columns.length }, title);
  const tops = groups.map((group) => over(group, group.title));
  const start = [sortHeader("name", "model", { class: "corner", rowspan }),
    RANKS.map((rank) => sortHeader(rank.key, rank.name, { class: "number", rowspan }))];
  const families = groupsOf(columns, (column) => column.family);
  const head = el("thead", {},
    FAMILIES.length
      ? [el("tr", {}, start, families.map((group) => over(group, group.columns[0].family))),
        el("tr", {}, tops)]
      : el("tr", {}, start, tops),
    el("tr", {}, columns.map((column) => sortHeader(column.index,
      column.score + (column.lower ? " (less is better)" : ""),
      { class: firsts.has(column.index) ? "number first" : "number" }))));
  const body = el("tbody", {}, models.map((m) => rowOf(m, columns, firsts)));
  const published = DATA.published.filter((row) =>
    columns.some((c) => row.cells[c.index] !== null));
  const others = published.length ? el("tbody", { class: "published" }, published.map((row) =>
    el("tr", {}, el("th", { scope: "row", title: row.source }, row.label,
      el("span", { class: "cell-line" }, "published, not measured here")),
    RANKS.map(() => el("td", {})),
    columns.map((c) => el("td", { class: `number${firsts.has(c.index) ? " first" : ""}` },
      points(row.cells[c.index])))))) : null;
  const table = el("table", { class: "grouped" }, head, body, others);
  $("table-region").replaceChildren(table);
  const [first, second] = [...head.children].map((row) => row.offsetHeight);
  table.style.setProperty("--head", `${first}px`);
  table.style.setProperty("--heads", `${first + second}px`);
  const all = DATA.models.length;
  $("table-count").textContent =
    `${models.length} of ${all} ${all === 1 ? "model" : "models"}, `
    + `${columns.length} of ${DATA.columns.length} scores. A model's name opens where its `
    + "numbers are from; so does a press on a number.";
}

function resultFacts(raw, index) {
  const measure = DATA.measures[index], result = resultOf(raw);
  const versions = Object.entries(result.versions).map((pair) => pair.join(" ")).join(", ");
  const dtypes = Object.entries(result.dtypes).map((pair) => pair.join(": ")).join(", ");
  return facts([
    ["task", `${measure.task}, version ${measure.version}, protocol ${measure.protocol}`],
    ["examples", measure.n.toLocaleString("en")
      + (result.limit ? ` (--limit ${result.limit})` : "")],
    ["data", `${measure.source}: ${result.data_id}`],
    ["data revision", measure.revision],
    ["data sha256", code(measure.sha256)],
    ["about the data", Object.entries(measure.notes).map((pair) => pair.join(": ")).join(", ")],
    ["model spec", code(result.spec)],
    ["precision", dtypes],
    ["device", result.device],
    ["seed", String(result.seed)],
    ["ranking depth", result.depth === null ? null : String(result.depth)],
    ["scored by", result.scored_by],
    ["outcomes", result.has_outcomes ? "kept beside the result" : "not there"],
    ["command", result.command ? code(result.command) : null],
    ["time", `${result.time}; took ${result.seconds} s, ${Math.round(100 * result.from_store)}% of `
      + "the vectors from the store"],
    ["versions", versions],
    ["file", code(`${result.folder}/${result.file}`)],
  ]);
}
function scoreFacts(model, column) {
  const { estimate, method, difference, isBest, isTied } = model.cells[column.index];
  const parts = [`${column.score} ${points(estimate[0])} ${interval(estimate)}`];
  if (isBest) parts.push("best of its column");
  if (isTied) parts.push("cannot be told from the best");
  if (method) parts.push(`interval: ${method}`);
  const lines = [el("p", {}, parts.join("; "))];
  if (difference) {
    const d = difference;
    const p = d.p === null ? [] : [`p ${d.p}, adjusted ${d.adjusted} (${DATA.about.adjust})`];
    const least = d.smallest === null ? []
      : [`a difference of ${points(d.smallest)} would have been found in four of five such sets`];
    lines.push(el("p", { class: "muted small" }, [
      `difference to ${DATA.about.baseline}: ${signed(d.estimate[0])} `
        + `${interval(d.estimate, signed)}, ${d.verdict || "no test"}`, ...p, ...least,
      ...(d.method ? [`interval: ${d.method}`] : []),
    ].join("; ")));
  }
  return lines;
}
function openModel(model, column = null) {
  const close = () => $("dialog").close();
  const groups = groupsOf(DATA.columns.filter((c) => model.cells[c.index]));
  const items = groups.map((group) => {
    const measures = [...new Set(group.columns.flatMap((c) => c.measures))];
    return el("details", { class: "result", open: group.columns.includes(column) },
      el("summary", {}, el("strong", {}, group.title), " ",
        group.columns.map((c) => `${c.score} ${points(model.cells[c.index].estimate[0])}`)
          .join(", ")),
      group.columns.map((c) => scoreFacts(model, c)),
      // One result a data set, or one a seed.
      measures.flatMap((i) => (model.results[i] || []).map((raw) => resultFacts(raw, i))));
  });
  $("dialog").replaceChildren(
    el("div", { class: "dialog-head" }, el("h2", { id: "dialog-title" }, model.name),
      el("button", { class: "plain-button", type: "button", onclick: close }, "Close")),
    el("div", { class: "dialog-body" },
      facts([["weights", model.seeds > 1 ? `${model.seeds} checkpoints, one a seed`
        : code(model.fingerprint)], ["precision", model.dtype],
        ["base", model.base], ["activation", model.activation]]),
      el("h3", {}, "Its results"), items));
  $("dialog").showModal();
  $("dialog").querySelector("details[open]")?.scrollIntoView({ block: "start" });
}

function dataTables() {
  const row = (cells) => el("tr", {}, el("th", { scope: "row" }, cells[0]),
    cells.slice(1).map((text) => el("td", {}, text)));
  const heads = (names) => el("thead", {}, el("tr", {}, names.map((name, i) =>
    el("th", { scope: "col", class: i ? null : "corner" }, name))));
  $("data-region").replaceChildren(el("table", {},
    heads(["data", "examples", "task version", "source", "revision", "sha256"]),
    el("tbody", {}, DATA.measures.map((m, i) => row([nameOfMeasure(i),
      m.n.toLocaleString("en") + (m.limit ? ` (limit ${m.limit})` : ""), String(m.version),
      m.source, m.revision || "–", code(m.sha256)])))));
  $("models-region").replaceChildren(el("table", {},
    heads(["model", "results", "precision", "base", "weights"]),
    el("tbody", {}, DATA.models.map((model) => row([
      el("button", { class: "name", type: "button", onclick: () => openModel(model) }, model.name),
      String(Object.values(model.results).flat().length), model.dtype, model.base || "–",
      code(model.fingerprint)])))));
  const about = DATA.about;
  $("made").textContent = `Made ${about.made} by paraclip-bench ${about.version}: ${about.command}`;
}

// A spreadsheet must not take a name for a formula.
const csvText = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = typeof value === "string" && /^ *[=+\-@]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
function asCsv() {
  const lines = [["suite", "model", "dtype", "fingerprint", "seeds", "title", "score", "value",
    "low", "high", "interval", "best", "difference", "difference_low", "difference_high", "p",
    "p_adjusted", "verdict", "baseline", "task", "protocol", "task_version", "n", "data_source",
    "data_id", "data_sha256", "spec", "command", "time", "file"]];
  for (const model of DATA.models) for (const column of DATA.columns) {
    const cell = model.cells[column.index];
    if (!cell) continue;
    const [value, low, high] = cell.estimate, d = cell.difference;
    const [gap, gapLow, gapHigh] = d ? d.estimate : [];
    // Of a mean over several results: what all of them share.
    const results = column.measures.flatMap((i) => (model.results[i] || []).map(resultOf));
    const every = (values) => [...new Set(values)].join("; ");
    const of = (name) => every(column.measures.map((i) => DATA.measures[i][name]));
    const from = (name) => every(results.map((result) => result[name]));
    lines.push([DATA.about.suite, model.name, model.dtype, model.fingerprint, model.seeds,
      column.title, column.score, value, low, high, cell.method, cell.isBest, gap, gapLow, gapHigh, d?.p,
      d?.adjusted, d?.verdict, d ? DATA.about.baseline : "", of("task"), of("protocol"),
      of("version"), of("n"), of("source"), from("data_id"), of("sha256"), from("spec"),
      from("command"), from("time"), from("file")]);
  }
  return lines.map((line) => line.map(csvText).join(",")).join("\n") + "\n";
}
function offer(id, name, type, make) {
  const link = $(id);
  link.setAttribute("download", name);
  link.addEventListener("click", () => {
    if (link.dataset.made) return;
    link.href = URL.createObjectURL(new Blob([make()], { type }));
    link.dataset.made = "yes";
  });
}

function startTable() {
  const about = DATA.about, bare = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);
  const count = (list, noun) => `${list.length} ${noun}${list.length === 1 ? "" : "s"}`;
  const counts = [count(DATA.models, "model"), count(DATA.columns, "score"),
    count(DATA.measures, "data set")];
  $("title").textContent = `Leaderboard, suite ${about.suite}`
    + (about.view ? `, view ${about.view}` : "");
  $("subtitle").textContent = `${counts.join(", ")}. `
    + (about.baseline ? `Compared to ${about.baseline}.` : "No baseline.");
  const isAny = (test) => DATA.models.some((model) => model.cells.some((c) => c && test(c)));
  $("legend").textContent = about.legend
    + (isAny((c) => c.difference) ? " Unclear: no clear difference to the baseline." : "");
  const titles = [...new Set(DATA.columns.map((column) => column.title))];
  const set = (name) => (value) => { view[name] = value; drawTable(); };
  $("table-controls").append(
    search("Find a model", "find-model", set("model")),
    FAMILIES.length > 1 ? choice("Family", "only-family",
      [["", "all families"], ...FAMILIES.map((name) => [name, name])], set("family")) : "",
    choice("Task", "only-task", [["", "all tasks"], ...titles.map((t) => [t, t])], set("title")),
    BASE ? choice("Verdict", "only-verdict", [["", "any"], ["better", "better on a score shown"],
      ["worse", "worse on a score shown"]], set("verdict")) : "",
    check("intervals", "with-intervals", true, set("intervals")),
    BASE ? check("differences", "with-differences", true, set("differences")) : "");
  const fill = (id, lines) => {
    if (!lines.length) return hide(id);
    return $(id).lastElementChild.append(...lines.map((line) => el("li", {}, bare(line))));
  };
  fill("in-words", about.sentences);
  fill("remarks", [...about.notes, ...about.left_out.map((line) => `left out: ${line}`)]);
  drawTable();
  dataTables();
  offer("as-csv", `leaderboard-${about.suite}.csv`, "text/csv", asCsv);
  offer("as-json", `leaderboard-${about.suite}.json`, "application/json",
    () => $("data").textContent);
}
