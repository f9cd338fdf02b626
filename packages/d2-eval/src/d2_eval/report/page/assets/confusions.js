const someClasses = 20;
const mostClasses = 100;

/** The labels that take part in most confusions, in the order of their ids. */
function confusedClasses(most) {
  const wrong = new Map();
  const add = (label, times) => label >= 0 && wrong.set(label, (wrong.get(label) ?? 0) + times);
  for (const [truth, found, times] of data.confusions) {
    const weight = truth === found ? 1e-6 * times : times;
    add(truth, weight);
    add(found, weight);
  }
  const ranked = [...wrong].sort((a, b) => b[1] - a[1]).slice(0, most);
  return ranked.map(([label]) => label).sort((a, b) => a - b);
}

function drawConfusions() {
  const involved = confusedClasses(Infinity).length;
  byId("confusion-lead").textContent =
    `Predictions with a confidence of ${confidence(data.confidence)} or more, paired with objects from IoU 0.5 on. Click a number to see its pictures.`;
  const sizes = [[String(someClasses), `${someClasses} most confused classes`], [String(mostClasses), involved > mostClasses ? `${mostClasses} most confused classes` : `all ${involved} classes`]];
  byId("confusion-choice").hidden = involved <= someClasses;
  fillSelect(byId("confusion-size"), sizes, (value) => drawMatrix(Number(value)));
  drawMatrix(someClasses);
}

function drawMatrix(most) {
  const labels = confusedClasses(most);
  if (!labels.length) {
    byId("matrix").replaceChildren(make("p", { class: "nothing" }, "No object and no prediction of this confidence."));
    return;
  }
  const counts = new Map(data.confusions.map(([truth, found, times]) => [`${truth},${found}`, times]));
  const rows = [...labels, -1], columns = [...labels, -1];
  const totals = new Map(rows.map((truth) => [truth, columns.reduce((sum, found) => sum + (counts.get(`${truth},${found}`) ?? 0), 0)]));
  const name = (label, nothing) => (label < 0 ? nothing : className(label));
  const head = make("tr", {}, make("th"), ...columns.map((found) => make("th", { class: "across", scope: "col" }, make("span", {}, name(found, "not found")))));
  const body = rows.map((truth) => make("tr", {},
    make("th", { class: "down", scope: "row", title: name(truth, "") || null }, name(truth, "not annotated")),
    ...columns.map((found) => matrixCell(truth, found, counts.get(`${truth},${found}`) ?? 0, totals.get(truth))),
  ));
  byId("matrix").replaceChildren(
    make("table", { class: "matrix" }, make("thead", {}, head), make("tbody", {}, ...body)),
    make("p", { class: "axis" }, "Rows: what is annotated. Columns: what was predicted. Colour: share of the row."),
  );
}

function matrixCell(truth, found, times, total) {
  if (!times) return make("td", { class: "empty" });
  const tint = truth === found ? "truth" : "found";
  const share = Math.round(8 + 62 * (times / total));
  const what = `${truth < 0 ? "nothing annotated" : className(truth)}, ${found < 0 ? "not found" : "predicted as " + className(found)}: ${times}`;
  return make("td", {}, make("button", {
    type: "button", title: what, "aria-label": what, "aria-pressed": "false", "data-cell": `${truth},${found}`,
    style: `background: color-mix(in srgb, var(--${tint}) ${share}%, var(--ground))`,
    onclick: (event) => {
      const pressed = event.currentTarget.getAttribute("aria-pressed") === "true";
      showPictures(pressed ? {} : { cell: [truth, found] }, !pressed);
    },
  }, count(times)));
}

/** Marks the cell by which pictures are filtered. */
function markCell(cell) {
  for (const button of document.querySelectorAll("#matrix [data-cell]")) {
    button.setAttribute("aria-pressed", String(cell !== null && button.dataset.cell === cell.join(",")));
  }
}
