"use strict";
// All foreign text goes into the page as text: el() never makes markup of a string.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);

function add(node, options, children) {
  for (const [name, value] of Object.entries(options || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((each) => each !== null && each !== undefined));
  return node;
}
const el = (tag, options, ...children) => add(document.createElement(tag), options, children);
const svg = (tag, options, ...children) =>
  add(document.createElementNS(SVG, tag), options, children);

const points = (value) => (value === null || value === undefined ? "–"
  : (100 * value).toFixed(1).replace("-", "−"));
const signed = (value) => {
  const text = points(value);
  return value > 0 ? `+${text}` : text;
};
const interval = (estimate, show = points) =>
  estimate && estimate.length > 1 ? `[${show(estimate[1])}, ${show(estimate[2])}]` : "";
const valueOf = (estimate) => (estimate && estimate[0] !== null ? estimate[0] : null);

// How the cells of a row are laid out by page.py.
const cellOf = (raw) => raw && {
  estimate: raw[0], method: DATA.pool[raw[1]], isBest: raw[2] === 1, isTied: raw[2] === 2,
  difference: raw[3] && {
    estimate: raw[3][0], verdict: raw[3][1], p: raw[3][2], adjusted: raw[3][3],
    smallest: raw[3][4], method: DATA.pool[raw[3][5]],
  },
};
const PROVENANCE = ["file", "time", "seconds", "from_store", "folder", "spec", "command",
  "versions", "device", "dtypes", "data_id", "seed", "depth", "limit", "scored_by",
  "has_outcomes"];
const resultOf = (raw) => raw && Object.fromEntries(
  PROVENANCE.map((name, i) => [name, i < 4 ? raw[i] : DATA.pool[raw[i]]]));

DATA.models.forEach((model, i) => {
  model.index = i;
  model.cells = model.cells.map(cellOf);
  model.isBase = model.name === DATA.about.baseline;
});
DATA.columns.forEach((column, i) => { column.index = i; });
// Ranks to show: the mean rank, or in a view the one that orders it and one a family.
const RANKS = DATA.about.view
  ? DATA.about.ranks.map((name, i) => ({ key: `rank-${i}`, name, of: (model) => model.ranks[i] }))
  : DATA.models.some((model) => model.rank)
    ? [{ key: "rank", name: "mean rank", of: (model) => model.rank }] : [];
const FAMILIES = DATA.about.view ? [...new Set(DATA.columns.map((column) => column.family))] : [];
const BASE = DATA.models.length > 1 && DATA.models.find((model) => model.isBase) || null;
const nameOfColumn = (column) => `${column.title} ${column.score}`;
const nameOfMeasure = (index) => {
  const measure = DATA.measures[index];
  const same = DATA.measures.filter(
    (m) => m.task === measure.task && m.protocol === measure.protocol
      && m.perturbation === measure.perturbation);
  const tag = same.length > 1 ? ` [data ${measure.sha256.slice(0, 6)}]` : "";
  const under = measure.perturbation ? ` ~ ${measure.perturbation}` : "";
  return `${measure.task} (${measure.protocol})${under}${tag}`;
};

const VERDICTS = { better: ["▲", "better"], worse: ["▼", "worse"] };
const kindOf = (difference) =>
  difference && difference.verdict in VERDICTS ? difference.verdict : "unclear";
function verdictMark(difference, isShort) {
  if (!difference.verdict) return el("span", { class: "verdict unclear" }, "no test");
  const [arrow, word] = VERDICTS[difference.verdict]
    || ["", isShort ? "unclear" : difference.verdict];
  return el("span", { class: `verdict ${kindOf(difference)}`, title: difference.verdict },
    `${arrow} ${word}`.trim());
}

// A labelled choice; `options` are [value, text].
function choice(label, id, options, onchange) {
  const select = el("select", { id, onchange: () => onchange(select.value) },
    options.map(([value, text]) => el("option", { value }, text)));
  return el("label", { class: "field", for: id }, label, select);
}
function check(label, id, checked, onchange) {
  const box = el("input", { type: "checkbox", id, onchange: () => onchange(box.checked) });
  box.checked = checked;
  return el("label", { class: "field check", for: id }, box, label);
}
function search(label, id, oninput) {
  const input = el("input", { type: "search", id, autocomplete: "off", spellcheck: "false",
    oninput: () => oninput(input.value.trim().toLowerCase()) });
  return el("label", { class: "field", for: id }, label, input);
}
function facts(pairs, className = "facts-list") {
  return el("dl", { class: className }, pairs
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}
const code = (text) => el("span", { class: "code" }, text);

// Numbers at round distances from low to high, some `wanted` of them.
function ticks(low, high, wanted) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= raw);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9; i++) found.push(i * step);
  return found;
}
const tickText = (value) => String(Number((100 * value).toFixed(4))).replace("-", "−");
// The least and the most of numbers with some room; of equal numbers a point around them.
function range(numbers, room = 0.06) {
  const low = Math.min(...numbers), high = Math.max(...numbers);
  const more = (high - low) * room || 0.01;
  return [low - more, high + more];
}
// Both ends of a long name: what tells models apart is often at its end.
const cut = (text, most) => (text.length <= most ? text
  : `${text.slice(0, most - 9)}…${text.slice(-8)}`);
const hide = (id) => {
  $(id).hidden = true;
};
