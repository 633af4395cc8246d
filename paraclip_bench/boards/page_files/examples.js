// Examples, one at a time: what each model makes of it, side by side.
const explorer = { which: 0, text: "", why: "", shown: [], current: null };
const WHY = { better: "a model does better than the first", worse: "a model does worse",
  spread: "others, evenly chosen" };

const nameOfImage = (index) => DATA.images[index];
function picture(index, alt) {
  const place = DATA.thumbnails[index];
  if (place !== undefined) return el("img", { src: DATA.pictures[place], alt });
  return el("span", { class: "no-image" }, nameOfImage(index));
}
const firstText = (example) => Object.values(example.texts)[0] || example.id;
const number = (value) => {
  if (value === null) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value);
};

function listExamples() {
  const set = DATA.examples[explorer.which];
  explorer.shown = set.examples.filter((example) => {
    if (explorer.why && example.why !== explorer.why) return false;
    if (!explorer.text) return true;
    return [example.id, ...Object.values(example.texts)].join("\n").toLowerCase()
      .includes(explorer.text);
  });
  const names = set.rows.map((i) => DATA.models[i].name);
  $("examples-count").textContent = `${explorer.shown.length} shown of the `
    + `${set.examples.length} here; the data have ${set.all.toLocaleString("en")}.`;
  $("examples-list").replaceChildren(...explorer.shown.map((example) => {
    const changes = example.values.map(number).join(" → ");
    return el("li", {}, el("button", { class: "pick", type: "button",
      "aria-current": String(example === explorer.current),
      onclick: () => openExample(example, true) },
    el("span", { class: "text" }, firstText(example)),
    el("span", { class: "change", title: names.join(" → ") }, `${set.counted}: ${changes}`)));
  }));
  if (!explorer.shown.length) $("examples-list").append(
    el("li", {}, el("p", { class: "empty" }, "No example is like that.")));
}

function tile(index, rank, other, targets) {
  const isBoth = other.has(index), isTarget = targets.has(index);
  const marks = [isBoth ? "in both" : "", isTarget ? "target" : ""].filter(Boolean).join(", ");
  const name = nameOfImage(index);
  const kind = `tile${isBoth ? " both" : ""}${isTarget ? " target" : ""}`;
  return el("li", { title: name, class: kind },
    picture(index, name), el("span", { class: "marks" }, el("b", {}, `${rank + 1}`),
      marks ? ` ${marks}` : ""));
}
function rankings(top, targets) {
  const names = Object.keys(top);
  return names.map((name) => {
    // Two phrasings are set side by side; what means the opposite, beside the query.
    const isOpposite = name === "negation";
    const beside = names.filter((n) =>
      n !== name && (isOpposite ? n === "query" : n !== "negation"));
    const others = new Set(beside.flatMap((n) => top[n]));
    const shared = top[name].filter((index) => others.has(index)).length;
    const note = !beside.length ? "" : `: ${shared} of the first ${top[name].length} are `
      + (isOpposite ? "the query's too" : "in both");
    return el("div", { class: "ranking" }, el("h5", {}, `found for the ${name}${note}`),
      el("ol", {}, top[name].map((index, rank) => tile(index, rank, others, targets))));
  });
}
function openExample(example, takeFocus) {
  const set = DATA.examples[explorer.which], place = explorer.shown.indexOf(example);
  explorer.current = example;
  for (const [i, button] of [...document.querySelectorAll(".pick")].entries())
    button.setAttribute("aria-current", String(explorer.shown[i] === example));
  const go = (step, text) => {
    const next = explorer.shown[place + step];
    return el("button", { class: "plain-button", type: "button", disabled: !next,
      onclick: () => openExample(next, true) }, text);
  };
  const targets = new Set(example.images);
  const images = example.images.length ? el("div", { class: "targets" },
    example.images.map((index) => el("figure", {}, picture(index, nameOfImage(index)),
      el("figcaption", {}, nameOfImage(index))))) : null;
  const models = example.models.map((outcome, m) => {
    const model = DATA.models[set.rows[m]];
    const numbers = Object.entries(outcome.numbers)
      .map(([name, value]) => `${name.replaceAll("_", " ")} ${number(value)}`).join(" · ");
    return el("div", { class: "model" },
      el("div", { class: "model-head" }, el("h4", {}, model.name),
        model.isBase ? el("span", { class: "tag" }, "baseline") : null,
        el("span", { class: "facts" }, `${set.counted} ${number(example.values[m])}`)),
      numbers ? el("p", { class: "facts" }, numbers) : null,
      outcome.top ? rankings(outcome.top, targets) : null);
  });
  $("example").replaceChildren(
    el("div", { class: "example-head" },
      el("h3", { id: "example-title", tabindex: "-1" }, `Example ${example.id}`),
      el("div", { class: "buttons" }, go(-1, "Previous"), go(1, "Next"))),
    el("p", { class: "muted small" }, `${nameOfMeasure(set.measure)}; why it is here: `
      + `${WHY[example.why]}`),
    facts(Object.entries(example.texts).map(([name, text]) => [name.replaceAll("_", " "), text])
      .concat(images ? [[targets.size > 1 ? "images" : "image", images]] : []), "texts"),
    ...models);
  if (takeFocus) {
    $("example-title").focus({ preventScroll: true });
    $("example").scrollIntoView({ block: "nearest" });
  }
}
function startExamples() {
  if (!DATA.examples.length) return hide("examples");
  const left = DATA.about.without_picture, pictures = Object.keys(DATA.thumbnails).length;
  $("examples-lead").textContent = "What models make of single examples: those that changed most, "
    + "and a few of the others. What an example counts for its score stands in the list, a number "
    + `a model, in the order in which they are shown.${detailNote()}`
    + (left && pictures ? ` ${left.toLocaleString("en")} images have no thumbnail here.`
      : left ? " Images are shown where leaderboard is given --images DIR." : "");
  const bar = $("examples-controls");
  const refresh = () => {
    listExamples();
    if (!explorer.shown.includes(explorer.current) && explorer.shown.length)
      openExample(explorer.shown[0], false);
  };
  // Rankings say most of how phrasings differ, so that they come first.
  explorer.which = Math.max(0, DATA.examples.findIndex((set) => set.examples[0]?.models[0].top));
  bar.append(
    choice("Task", "examples-task", DATA.examples.map((s, i) =>
      [i, `${nameOfMeasure(s.measure)}, ${s.score}`]),
    (value) => { explorer.which = Number(value); refresh(); }),
    choice("Which", "examples-why", [["", "all of these"], ["better", "gained most"],
      ["worse", "lost most"], ["spread", "others"]],
    (value) => { explorer.why = value; refresh(); }),
    search("Find in the texts", "examples-text", (value) => { explorer.text = value; refresh(); }));
  $("examples-task").value = explorer.which;
  refresh();
  return undefined;
}

function startSections() {
  for (const section of document.querySelectorAll("main > section")) {
    if (section.hidden) continue;
    const text = section.querySelector("h2").textContent;
    $("sections").append(el("li", {}, el("a", { href: `#${section.id}` }, text)));
  }
}
function startTheme() {
  const root = document.documentElement;
  let kept = "";
  // A browser may forbid storage to a page that is a file.
  try { kept = localStorage.getItem("paraclip-bench-theme") || ""; } catch { kept = ""; }
  const set = (value) => {
    if (value) root.dataset.theme = value;
    else delete root.dataset.theme;
  };
  set(["light", "dark"].includes(kept) ? kept : "");
  $("theme").value = root.dataset.theme || "";
  $("theme").addEventListener("change", () => {
    set($("theme").value);
    try { localStorage.setItem("paraclip-bench-theme", $("theme").value); } catch { /* as above */ }
  });
}

startTheme();
startTable();
startForest();
startPrice();
startParts();
startExamples();
startSections();
