const taskNames = { bbox: "Boxes", segm: "Masks", keypoints: "Keypoints" };
const metricTexts = {
  AP: "IoU 0.50 to 0.95", AP50: "IoU 0.5", AP75: "IoU 0.75", APs: "small objects", APm: "medium objects", APl: "large objects",
};
const errorTexts = {
  classification: "right place, wrong class",
  localisation: "right class, poorly placed (IoU 0.1 to 0.5)",
  both: "wrong class and poorly placed",
  duplicate: "an object that was found already",
  background: "nothing is annotated there",
  missed: "an object that nothing found",
  correct: "right class and place",
};
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function describeRun() {
  const parts = [data.dataset, plural(data.images, "image"), plural(data.objects, "object"), plural(data.predictions, "prediction")];
  byId("subtitle").textContent = parts.join(" · ") + (data.other === null ? "" : ` — ${data.name} compared with ${data.other}`);
  const main = data.figures.find((one) => one.task === data.task);
  byId("headline").replaceChildren(...main.rows.slice(0, 3).map((row) => make(
    "div", {},
    make("div", { class: "value" }, number(row.value)),
    make("div", { class: "label" }, `${row.metric}, ${taskNames[data.task].toLowerCase()}`),
    make("div", { class: "range" }, row.interval ? range(row.interval) : ""),
  )));
  const tables = data.other === null ? [figureTable(data.figures)] : data.figures.map(comparisonTable);
  byId("figures").replaceChildren(...tables);
  byId("interval-note").textContent =
    `Percent. Ranges hold 95 % of ${count(data.resamples)} evaluations on as many images drawn anew from these` +
    (data.other === null ? "." : "; both runs are evaluated on the same ones, so that differences are paired. A difference whose range includes 0 may be chance.");
}

/** One row a task: its metrics beside each other. */
function figureTable(tasks) {
  const metrics = [...new Set(tasks.flatMap((one) => one.rows.map((row) => row.metric)))];
  const made = table(
    ["", ...metrics.map((name) => make("span", { title: metricTexts[name] }, name))],
    tasks.map(({ task, rows }) => {
      const values = new Map(rows.map((row) => [row.metric, number(row.value)]));
      return [taskNames[task], ...metrics.map((name) => values.get(name) ?? "")];
    }),
    new Set(metrics.map((_, i) => i + 1)),
  );
  made.classList.add("figures");
  return made;
}

function verdict(pair) {
  if (!pair || pair[0] === null) return "";
  if (pair[0] > 0) return make("span", { class: "better" }, "better");
  if (pair[1] < 0) return make("span", { class: "worse" }, "worse");
  return "no clear difference";
}

function difference(value, other) {
  return value === null || other === null || other === undefined ? null : value - other;
}

function comparisonTable({ task, rows }) {
  return table(
    ["Metric", data.name, data.other, "Difference", "95 %", ""],
    rows.map((row) => [
      row.metric, number(row.value), number(row.other), signed(difference(row.value, row.other)),
      row.difference ? `${signed(row.difference[0])} to ${signed(row.difference[1])}` : "", verdict(row.difference),
    ]),
    new Set([1, 2, 3, 4]), taskNames[task],
  );
}

function describeErrors() {
  const { kinds, run, other } = data.errors;
  const name = (kind) => make("span", {}, make("span", { class: "error-name" }, capital(kind)), make("br"), make("span", { class: "error-text" }, errorTexts[kind]));
  const heads = other === null ? ["Kind", "Number", "Costs"] : ["Kind", "Number", "Costs", `in ${data.other}`, "Difference"];
  const rows = kinds.map((kind) => {
    const cells = [name(kind), count(run.counts[kind]), number(run.costs[kind], 2)];
    return other === null ? cells : [...cells, number(other.costs[kind], 2), signed(run.costs[kind] - other.costs[kind], 2)];
  });
  const note = make("p", { class: "note" },
    `AP50 here is ${number(run.ap50, 2)}. Were all false positives ranked last, it would rise by ${number(run.false_positives, 2)}; were all objects found, by ${number(run.false_negatives, 2)}. Numbers as by TIDE, over predictions of any confidence.`);
  byId("error-table").replaceChildren(table(heads, rows, new Set([1, 2, 3, 4])), note);
}

const classColumns = [
  ["Class", "name"], ["Objects", "objects"], ["AP", "ap"], ["AP50", "ap50"], ["AP75", "ap75"], ["Precision", "precision"], ["Recall", "recall"],
];

function drawClasses() {
  const known = data.classes.map((one, label) => ({ ...one, label })).filter((one) => one.objects > 0 || one.shown > 0);
  const ranked = known.filter((one) => one.ap !== null).sort((a, b) => b.ap - a.ap);
  byId("class-chart").hidden = ranked.length < 2;
  if (ranked.length >= 2) {
    chart("chart-classes", () => ({
      type: "bar",
      data: { labels: ranked.map((one) => one.name), datasets: barSets(ranked.map((one) => one.ap), ranked.map((one) => one.other), { ...bar, categoryPercentage: 0.86, barPercentage: 0.95 }) },
      options: {
        onClick: (_, hits) => hits.length && showPictures({ label: ranked[hits[0].index].label }),
        plugins: { legend: { display: data.other !== null }, tooltip: { callbacks: { label: (item) => `AP ${number(item.parsed.y)}`, afterLabel: (item) => plural(ranked[item.dataIndex].objects, "object") } } },
        scales: { x: { ...noGrid, ticks: { maxRotation: 60, autoSkip: true, font: { size: 11 } } }, y: axis("AP", { min: 0, max: 100, ticks: { stepSize: 25 } }) },
      },
    }));
  }
  const columns = data.other === null ? classColumns : [...classColumns.slice(0, 3), [`AP, ${data.other}`, "other"], ["Difference", "change"], ["95 %", "low"]];
  for (const one of known) {
    one.change = difference(one.ap, one.other);
    one.low = one.difference ? one.difference[0] : null;
  }
  let sorted = "objects", ascending = false;
  const show = (one, key) => {
    if (key === "name") return one.name;
    if (key === "objects") return count(one.objects);
    if (key === "change") return signed(one.change);
    if (key === "low") return make("span", {}, one.low === null ? "" : `${signed(one.low)} to ${signed(one.difference[1])}`);
    if (key !== "ap") return number(one[key]);
    return make("span", {}, number(one.ap), make("span", { class: "meter" }, make("i", { style: `width:${one.ap ?? 0}%` })));
  };
  const draw = () => {
    const order = [...known].sort((a, b) => {
      const [x, y] = [a[sorted], b[sorted]];
      if (typeof x === "string") return x.localeCompare(y);
      return (x ?? -Infinity) - (y ?? -Infinity);
    });
    if (!ascending) order.reverse();
    const heads = columns.map(([text, key]) => make("button", { type: "button", onclick: () => {
      ascending = key === sorted ? !ascending : key === "name";
      sorted = key;
      draw();
    } }, text));
    const made = table(heads, order.map((one) => columns.map(([, key]) => show(one, key))), new Set(columns.map((_, i) => i).slice(1)));
    made.querySelectorAll("th").forEach((head, i) => {
      if (columns[i][1] === sorted) head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    });
    made.querySelectorAll("tbody tr").forEach((row, i) => {
      row.classList.add("pick");
      row.addEventListener("click", () => showPictures({ label: order[i].label }));
    });
    byId("class-table").replaceChildren(made);
  };
  draw();
}
