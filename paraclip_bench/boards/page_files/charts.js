// Differences with intervals, agreement against recall, and scores by part.
const percent = (value, [low, high]) => `${(100 * (value - low)) / (high - low)}%`;

// An axis as wide as its cell: positions are shares of the width, so nothing is distorted.
function axis(span, marks) {
  return svg("svg", { width: "100%", height: 18, "aria-hidden": "true" }, marks.map((value) =>
    svg("text", { x: percent(value, span), y: 14, "text-anchor": "middle" }, tickText(value))));
}
function grid(span, marks, height, zero) {
  return marks.map((value) => svg("line", { class: value === 0 && zero ? "zero" : "axis",
    x1: percent(value, span), x2: percent(value, span), y1: 0, y2: height }));
}
function whisker(span, estimate, y, lineClass, pointClass) {
  const parts = [];
  if (estimate.length > 1) parts.push(svg("line", { class: lineClass,
    x1: percent(estimate[1], span), x2: percent(estimate[2], span), y1: y, y2: y }));
  parts.push(svg("circle", { class: pointClass, cx: percent(estimate[0], span), cy: y, r: 4.5 }));
  return parts;
}

const forest = { by: "score", column: 0, model: 0 };
function drawForest() {
  const others = DATA.models.filter((model) => !model.isBase);
  const rows = forest.by === "score"
    ? others.map((model) => ({ label: model.name, column: DATA.columns[forest.column],
      cell: model.cells[forest.column] }))
    : DATA.columns.map((column) => ({ label: nameOfColumn(column), column,
      cell: DATA.models[forest.model].cells[column.index] }));
  const known = rows.filter((row) => valueOf(row.cell?.difference?.estimate) !== null);
  if (forest.by === "score") known.sort((a, b) =>
    (b.cell.difference.estimate[0] - a.cell.difference.estimate[0]) * (a.column.lower ? -1 : 1));
  if (!known.length) {
    $("forest-region").replaceChildren(el("p", { class: "empty" },
      "Nothing to compare here: no other model has this on the same examples."));
    return;
  }
  const numbers = known.flatMap((row) => row.cell.difference.estimate);
  const span = range([0, ...numbers]), marks = ticks(...span, 6);
  const height = 26;
  const label = (row) => {
    const model = forest.by === "score" && DATA.models.find((m) => m.name === row.label);
    return model ? el("button", { class: "name", type: "button",
      onclick: () => openModel(model, row.column) }, row.label)
      : row.label + (row.column.lower ? " (less is better)" : "");
  };
  $("forest-region").replaceChildren(el("table", { class: "forest" },
    el("thead", {}, el("tr", {},
      el("th", { scope: "col", class: "corner" }, forest.by === "score" ? "model" : "score"),
      el("th", { scope: "col", class: "plot" }, el("span", { class: "sr" }, "drawn"),
        axis(span, marks)),
      el("th", { scope: "col", class: "number" }, "difference [95%]"),
      el("th", { scope: "col" }, "verdict"))),
    el("tbody", {}, known.map((row, i) => {
      const d = row.cell.difference, { family } = row.column;
      const isNew = forest.by === "model" && family && family !== known[i - 1]?.column.family;
      return [isNew ? el("tr", { class: "family" },
        el("th", { scope: "row" }, family), el("td", { colspan: 3 })) : null,
      el("tr", {}, el("th", { scope: "row" }, label(row)),
        el("td", { class: `plot ${kindOf(d)}` }, svg("svg", { width: "100%", height,
          "aria-hidden": "true" }, grid(span, marks, height, true),
        whisker(span, d.estimate, height / 2, "ci", "pt"))),
        el("td", { class: "number" }, signed(d.estimate[0]), " ",
          el("span", { class: "muted" }, interval(d.estimate, signed))),
        el("td", {}, verdictMark(d)))];
    }))));
}
function startForest() {
  const others = DATA.models.filter((model) => !model.isBase);
  if (!BASE || !others.length) return hide("forest");
  $("forest-title").textContent = `Differences to ${BASE.name}`;
  $("forest-lead").textContent = "Paired differences x 100 on the same examples, with 95% "
    + "intervals. The verdict is by a test that is adjusted as the table says; an interval is of "
    + "one difference alone. Hollow: no clear difference.";
  const score = choice("Score", "forest-score", DATA.columns.map((c, i) =>
    [i, (c.family ? `${c.family}: ` : "") + nameOfColumn(c)]),
    (value) => { forest.column = Number(value); drawForest(); });
  const model = choice("Model", "forest-model", others.map((m) => [m.index, m.name]),
    (value) => { forest.model = Number(value); drawForest(); });
  const by = (value) => {
    forest.by = value;
    score.hidden = value !== "score";
    model.hidden = value === "score";
    drawForest();
  };
  forest.model = others[0].index;
  const isTested = (column) => others.some((m) => m.cells[column.index]?.difference?.verdict);
  forest.column = Math.max(0, DATA.columns.findIndex(isTested));
  $("forest-controls").append(choice("Show", "forest-by",
    [["score", "all models on one score"], ["model", "all scores of one model"]], by),
  score, model);
  // Of one other model all scores say more than a line.
  const first = others.length === 1 ? "model" : "score";
  $("forest-by").value = first;
  $("forest-score").value = forest.column;
  by(first);
  return undefined;
}

const price = { which: 0, agreement: "", recall: "" };
function drawPrice() {
  const chart = DATA.price[price.which], names = [...chart.agreement, ...chart.recall];
  const [ix, iy] = [names.indexOf(price.recall), names.indexOf(price.agreement)];
  const at = (scores) => ({ x: scores[ix], y: scores[iy] });
  const isKnown = (p) => valueOf(p.x) !== null && valueOf(p.y) !== null;
  const models = chart.points.map((scores, i) => scores && { model: DATA.models[i], ...at(scores) })
    .filter((p) => p && isKnown(p));
  const curves = chart.curves.map((curve) => ({ name: curve.name, points: curve.points
    .map((p) => ({ alpha: p.alpha, row: p.row, ...at(p.scores) })).filter(isKnown) }))
    .filter((curve) => curve.points.length > 1);
  const onCurve = new Set(curves.flatMap((curve) => curve.points.map((p) => p.row)));
  const all = [...models, ...curves.flatMap((curve) => curve.points)];
  if (!all.length) {
    $("price-plot").replaceChildren(el("p", { class: "empty" }, "No model has both scores."));
    return;
  }
  const width = Math.max(280, $("price-plot").clientWidth || 640);
  const height = Math.round(Math.min(460, Math.max(300, width * 0.55)));
  const box = { left: 44, right: width - 14, top: 12, bottom: height - 40 };
  const [sx, sy] = [range(all.flatMap((p) => p.x)), range(all.flatMap((p) => p.y))];
  const x = (v) => box.left + ((v - sx[0]) / (sx[1] - sx[0])) * (box.right - box.left);
  const y = (v) => box.bottom - ((v - sy[0]) / (sy[1] - sy[0])) * (box.bottom - box.top);
  const line = (className, x1, y1, x2, y2) => svg("line", { class: className, x1, y1, x2, y2 });
  const parts = [
    ticks(...sx, width / 110).map((v) => [line("axis", x(v), box.top, x(v), box.bottom),
      svg("text", { x: x(v), y: box.bottom + 16, "text-anchor": "middle" }, tickText(v))]),
    ticks(...sy, height / 70).map((v) => [line("axis", box.left, y(v), box.right, y(v)),
      svg("text", { x: box.left - 7, y: y(v) + 4, "text-anchor": "end" }, tickText(v))]),
    svg("text", { x: box.right, y: height - 6, "text-anchor": "end" }, `${price.recall} →`),
    svg("text", { x: box.left + 6, y: box.top + 11 }, `↑ ${price.agreement}`),
  ];
  if (all.length <= 40) for (const p of all) {
    if (p.x.length > 1) parts.push(line("whisker", x(p.x[1]), y(p.y[0]), x(p.x[2]), y(p.y[0])));
    if (p.y.length > 1) parts.push(line("whisker", x(p.x[0]), y(p.y[1]), x(p.x[0]), y(p.y[2])));
  }
  for (const curve of curves) parts.push(svg("polyline", { class: "curve",
    points: curve.points.map((p) => `${x(p.x[0])},${y(p.y[0])}`).join(" ") }));
  const labels = [];
  for (const p of models) {
    const isOn = onCurve.has(p.model.index);
    parts.push(svg("circle", { cx: x(p.x[0]), cy: y(p.y[0]), r: p.model.isBase ? 6.5 : 5,
      class: `dot${p.model.isBase ? " base" : isOn ? " on-curve" : ""}` },
    svg("title", {}, p.model.name)));
    if (!isOn || p.model.isBase)
      labels.push({ x: x(p.x[0]), y: y(p.y[0]), text: p.model.name, keep: p.model.isBase });
  }
  for (const curve of curves) for (const p of curve.points) {
    const base = p.row !== null && DATA.models[p.row].isBase;
    if (!base) labels.push({ x: x(p.x[0]), y: y(p.y[0]), text: `α = ${p.alpha}`, keep: true });
  }
  const placed = place(labels, box);
  parts.push(placed);
  const said = `${models.length} models by ${price.recall} (across) and ${price.agreement} (up); `
    + "the numbers are in the table below.";
  $("price-plot").replaceChildren(
    svg("svg", { width, height, role: "img", "aria-label": said }, parts));
  $("price-caption").textContent = [
    "Scores x 100 with 95% intervals. The larger black or white point is the baseline.",
    ...curves.map((c) => `Blue line: weights between a base (α = 0) and its checkpoint (α = 1), `
      + `by merge --sweep (${c.name}).`),
    placed.length < labels.length ? "Points without a name have it in the table below, and "
      + "under the pointer." : "",
  ].join(" ");
  $("price-region").replaceChildren(el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "corner" }, "model"),
      [price.agreement, price.recall].map((name) =>
        el("th", { scope: "col", class: "number" }, name)))),
    el("tbody", {}, [
      ...models.map((p) => [p.model.name, p]),
      ...curves.flatMap((c) => c.points.map((p) => [`${c.name}, α = ${p.alpha}`, p])),
    ].map(([name, p]) => el("tr", {}, el("th", { scope: "row" }, name),
      [p.y, p.x].map((e) => el("td", { class: "number" }, points(e[0]), " ",
        el("span", { class: "muted" }, interval(e))))))))); 
}
// Labels beside their points, where nothing else is; those without room are left out.
function place(labels, box) {
  const taken = labels.map((l) => [l.x - 6, l.y - 6, l.x + 6, l.y + 6]);
  const shown = [];
  for (const label of [...labels].sort((a, b) => b.keep - a.keep)) {
    const text = cut(label.text, 34);
    const w = text.length * 6.4, places = [[9, -7], [9, 16], [-9 - w, -7], [-9 - w, 16],
      [9, 4], [-9 - w, 4], [-w / 2, -11], [-w / 2, 20]];
    for (const [dx, dy] of places) {
      const [left, base] = [label.x + dx, label.y + dy];
      const own = [left, base - 10, left + w, base + 3];
      if (own[0] < box.left || own[2] > box.right + 10 || own[1] < box.top || own[3] > box.bottom)
        continue;
      if (taken.some((t) => own[0] < t[2] && own[2] > t[0] && own[1] < t[3] && own[3] > t[1]))
        continue;
      taken.push(own);
      shown.push(svg("text", { class: "mark", x: left, y: base }, text));
      break;
    }
  }
  return shown;
}
function startPrice() {
  if (!DATA.price.length) return hide("price");
  $("price-lead").textContent = "Agreement says how alike the images are that a query and its "
    + "paraphrase find; recall, whether the right one is among them. A model that ignores the "
    + "words agrees with itself and finds nothing, so that both count: up and to the right is "
    + "better.";
  const bar = $("price-controls");
  const fill = () => {
    const chart = DATA.price[price.which];
    const pick = (names, wanted) => wanted.find((name) => names.includes(name)) || names[0];
    price.agreement = pick(chart.agreement, ["js@10", "ao@10"]);
    price.recall = pick(chart.recall, ["recall@1/query", "recall@1"]);
    const options = (names) => names.map((name) => [name, name]);
    const set = (name) => (value) => { price[name] = value; drawPrice(); };
    bar.replaceChildren(
      DATA.price.length > 1 ? choice("Data", "price-data", DATA.price.map((c, i) =>
        [i, nameOfMeasure(c.measure)]), (value) => { price.which = Number(value); fill(); }) : "",
      choice("Agreement (up)", "price-agreement", options(chart.agreement), set("agreement")),
      choice("Recall (across)", "price-recall", options(chart.recall), set("recall")));
    if (DATA.price.length > 1) $("price-data").value = price.which;
    $("price-agreement").value = price.agreement;
    $("price-recall").value = price.recall;
    drawPrice();
  };
  fill();
  let wide = $("price-plot").clientWidth;
  new ResizeObserver(() => {
    if ($("price-plot").clientWidth === wide) return;
    wide = $("price-plot").clientWidth;
    drawPrice();
  }).observe($("price-plot"));
  return undefined;
}

const detailNote = () => {
  const all = DATA.models.length, some = DATA.about.detailed.length;
  if (all <= some) return "";
  const rest = all - some;
  return ` Shown for ${DATA.about.detailed.map((i) => DATA.models[i].name).join(", ")}; `
    + `${rest} other ${rest === 1 ? "model is" : "models are"} left out here, to keep the page `
    + "small: leaderboard --models NAME makes a page of those that you name.";
};
const part = { which: 0, score: 0, sort: "" };
function drawParts() {
  const table = DATA.parts[part.which], models = table.rows.map((i) => DATA.models[i]);
  const at = ([, , values], m) => values[m][part.score];
  const rows = table.parts.filter(([, , values]) =>
    values.some((each) => valueOf(each[part.score]) !== null));
  const order = {
    size: (a, b) => b[1] - a[1],
    spread: (a, b) => spread(b) - spread(a),
    "": (a, b) => (a[0] < b[0] ? -1 : 1),
  };
  const spread = (row) => {
    const known = models.map((_, m) => valueOf(at(row, m))).filter((v) => v !== null);
    return Math.max(...known) - Math.min(...known);
  };
  rows.sort(order[part.sort]);
  const numbers = rows.flatMap((row) => models.flatMap((_, m) => at(row, m) || []))
    .filter((v) => v !== null);
  const none = table.parts.length - rows.length;
  $("parts-count").textContent = `${rows.length} of ${table.parts.length} parts`
    + (none ? `; the others are too small for this score, or have none.` : ".");
  if (!rows.length) return $("parts-region").replaceChildren();
  const span = range(numbers, 0.04), marks = ticks(...span, 5);
  const height = 8 + 12 * models.length;
  $("parts-key").replaceChildren(...models.map((model, m) => el("span", { class: `m${m}` },
    svg("svg", { width: 26, height: 12, "aria-hidden": "true" },
      svg("line", { class: "own-line", x1: 1, x2: 25, y1: 6, y2: 6 }),
      svg("circle", { class: "own-fill", cx: 13, cy: 6, r: 4.5 })),
    `${m + 1}. ${model.name}${model.isBase ? " (baseline)" : ""}`)));
  $("parts-region").replaceChildren(el("table", { class: "forest" },
    el("thead", {}, el("tr", {},
      el("th", { scope: "col", class: "corner" }, table.kind),
      el("th", { scope: "col", class: "number" }, "n"),
      el("th", { scope: "col", class: "plot" }, el("span", { class: "sr" }, "drawn"),
        axis(span, marks)),
      models.map((model, m) => el("th", { scope: "col", class: "number", title: model.name },
        `${m + 1}. ${cut(model.name, 20)}`)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, el("th", { scope: "row" }, row[0]),
      el("td", { class: "number" }, row[1].toLocaleString("en")),
      el("td", { class: "plot" }, svg("svg", { width: "100%", height, "aria-hidden": "true" },
        grid(span, marks, height), models.map((_, m) => (valueOf(at(row, m)) === null ? null
          : svg("g", { class: `m${m}` },
            whisker(span, at(row, m), 10 + 12 * m, "own-line", "own-fill")))))),
      models.map((_, m) => el("td", { class: "number" }, points(valueOf(at(row, m))),
        el("span", { class: "cell-line" }, interval(at(row, m))))))))));
  return undefined;
}
function startParts() {
  if (!DATA.parts.length) return hide("parts");
  $("parts-lead").textContent = "The same scores of a part of the examples alone, x 100 with 95% "
    + `intervals.${detailNote()}`;
  const bar = $("parts-controls");
  // Relations and attributes before the sources of sentence pairs.
  part.which = Math.max(0, DATA.parts.findIndex((table) => table.kind === "group"));
  const fill = () => {
    const table = DATA.parts[part.which];
    part.score = 0;
    bar.replaceChildren(
      choice("Task", "parts-task", DATA.parts.map((t, i) => [i, nameOfMeasure(t.measure)]),
        (value) => { part.which = Number(value); fill(); }),
      choice("Score", "parts-score", table.scores.map((name, i) => [i, name]),
        (value) => { part.score = Number(value); drawParts(); }),
      choice("Order", "parts-order", [["", "by name"], ["size", "largest part first"],
        ["spread", "largest spread of models first"]],
      (value) => { part.sort = value; drawParts(); }));
    $("parts-task").value = part.which;
    $("parts-order").value = part.sort;
    drawParts();
  };
  fill();
  return undefined;
}
