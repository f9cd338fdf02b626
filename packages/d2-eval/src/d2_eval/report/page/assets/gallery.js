const batch = 24;
const kindOrder = ["classification", "localisation", "both", "duplicate", "background", "missed", "correct"];
const filter = { kind: null, label: null, cell: null };
let shown = batch;

const allExamples = data.examples.map((one, index) => ({ ...one, index }));
const isChange = (one) => one.kind === "gained" || one.kind === "lost";
const examples = allExamples.filter((one) => !isChange(one));

function pictureOf(one) {
  pictures ??= JSON.parse(byId("data-pictures").textContent);
  const text = pictures[one.index];
  return text ? make("img", { src: `data:image/jpeg;base64,${text}`, alt: sentence(one), loading: "lazy", decoding: "async" }) : "no room for this picture";
}

function sentence(one) {
  if (one.found < 0) return `${className(one.truth)}, not found`;
  const told = `${className(one.found)} ${one.score.toFixed(2)}`;
  return one.truth < 0 ? `${told}, nothing annotated` : `${told}, annotated as ${className(one.truth)}`;
}

function words(one) {
  const said = one.found < 0
    ? [make("b", {}, className(one.truth)), " was not found"]
    : [make("b", {}, className(one.found)), ` ${one.score.toFixed(2)}`];
  if (one.found >= 0 && one.truth >= 0 && one.kind !== "correct" && !isChange(one)) {
    said.push(one.truth === one.found ? ", IoU " + one.overlap.toFixed(2) : make("span", {}, ", annotated as ", make("b", {}, className(one.truth))));
  } else if (one.kind === "correct" || isChange(one)) said.push(`, IoU ${one.overlap.toFixed(2)}`);
  else if (one.kind === "background") said.push(", nothing annotated");
  else if (one.kind === "both") said.push(`, near an object (IoU ${one.overlap.toFixed(2)})`);
  return said;
}

function kindName(one) {
  if (!isChange(one)) return capital(one.kind);
  return `Found only by ${one.kind === "gained" ? data.name : data.other}`;
}

function card(one) {
  return make("button", { type: "button", class: "card", onclick: () => enlarge(one) },
    make("span", { class: "frame" }, pictureOf(one)),
    make("span", { class: "text" },
      make("div", { class: "kind" }, kindName(one)),
      make("div", {}, ...words(one)),
      make("div", { class: "file", title: one.image }, one.image)));
}

function enlarge(one) {
  const facts = isChange(one) ? [one.image] : [one.image, errorTexts[one.kind]];
  if (one.suspicion) facts.push("perhaps a label error: " + one.suspicion);
  if (one.annotation !== undefined) facts.push(`annotation ${one.annotation}`);
  byId("viewer-body").replaceChildren(pictureOf(one), make("div", { class: "text" },
    make("div", { class: "quiet" }, kindName(one)), make("div", {}, ...words(one)), make("div", { class: "quiet" }, facts.join(" · "))));
  byId("viewer").showModal();
}

function passes(one, but = null) {
  if (filter.cell && but !== "cell" && one.cell.join() !== filter.cell.join()) return false;
  if (filter.label !== null && but !== "label" && one.truth !== filter.label && one.found !== filter.label) return false;
  if (but === "kind") return true;
  return filter.kind === null ? one.kind !== "correct" || filter.cell !== null : one.kind === filter.kind;
}

function drawGallery() {
  const chosen = examples.filter((one) => passes(one));
  const available = examples.filter((one) => passes(one, "kind"));
  const chips = [[null, "All errors", available.filter((one) => one.kind !== "correct").length]];
  for (const kind of kindOrder) {
    const n = available.filter((one) => one.kind === kind).length;
    if (n || filter.kind === kind) chips.push([kind, capital(kind), n]);
  }
  const made = chips.map(([kind, text, n]) => make("button", {
    type: "button", "aria-pressed": String(filter.kind === kind && !(filter.cell && kind === null)), title: kind ? errorTexts[kind] : null,
    onclick: () => showPictures({ ...filter, kind }, false),
  }, text, make("span", { class: "count" }, count(n))));
  if (filter.cell) {
    const [truth, found] = filter.cell;
    made.push(make("button", { type: "button", id: "cell-chip", "aria-pressed": "true", title: "Show all again", onclick: () => showPictures({ ...filter, cell: null }, false) },
      `${truth < 0 ? "not annotated" : className(truth)} → ${found < 0 ? "not found" : className(found)}  ×`));
  }
  byId("kind-chips").replaceChildren(...made);
  byId("picture-class").value = String(filter.label ?? -1);
  byId("picture-status").textContent = chosen.length ? `${count(Math.min(shown, chosen.length))} of ${plural(chosen.length, "picture")}` : "";
  const empty = examples.length ? "No picture of this kind. The report keeps the worst ones of each kind and pair of classes." : "Nothing to show: no errors, or no room for pictures.";
  byId("cards").replaceChildren(...(chosen.length ? chosen.slice(0, shown).map(card) : [make("p", { class: "nothing" }, empty)]));
  byId("more").hidden = chosen.length <= shown;
  markCell(filter.cell);
}

/** Filters the pictures, and goes there. */
function showPictures(wanted, scroll = true) {
  Object.assign(filter, { kind: null, label: null, cell: null }, wanted);
  shown = batch;
  drawGallery();
  if (scroll) byId("pictures").scrollIntoView({ block: "start" });
}

function startGallery() {
  const present = new Set(examples.flatMap((one) => [one.truth, one.found]).filter((label) => label >= 0));
  const labels = [...present].sort((a, b) => className(a).localeCompare(className(b)));
  fillSelect(byId("picture-class"), [["-1", "all"], ...labels.map((label) => [String(label), className(label)])],
    (value) => showPictures({ ...filter, label: Number(value) < 0 ? null : Number(value) }, false));
  byId("picture-lead").textContent =
    `The worst errors of each kind and pair of classes, at a confidence of ${confidence(data.confidence)} or more` +
    (data.images_found < data.images ? `. ${data.images_found ? count(data.images - data.images_found) : "All"} of the image files were not found; their objects are drawn on empty sheets.` : ".");
  byId("more").addEventListener("click", () => { shown += batch; drawGallery(); });
  drawGallery();
}

const suspicionTexts = {
  "not annotated": "confident predictions where nothing is annotated",
  "other class": "confident predictions of another class than annotated",
  "found by nothing": "objects that no prediction touches, whatever its class and confidence",
};

function startLabels() {
  const kinds = Object.keys(suspicionTexts).filter((kind) => data.suspicions[kind]);
  const total = kinds.reduce((sum, kind) => sum + data.suspicions[kind], 0);
  byId("label-lead").textContent = total
    ? `${plural(total, "place")} where the annotations contradict the predictions so clearly that they are worth a look.`
    : "Nothing contradicts the annotations clearly enough to be listed here.";
  const links = data.files.map((file) => make("a", { href: file }, file.split("/")[0]));
  const formats = ["COCO", "CVAT for images 1.1", "FiftyOneImageDetectionDataset"];
  if (total) byId("label-files").replaceChildren("To mend them: ", ...links.flatMap((link, i) => [i ? ", " : "", link, ` (${formats[i]})`]), ".");
  const draw = (chosen) => {
    byId("label-chips").replaceChildren(...kinds.map((kind) => make("button", {
      type: "button", "aria-pressed": String(kind === chosen), title: suspicionTexts[kind], onclick: () => draw(kind),
    }, capital(kind), make("span", { class: "count" }, count(data.suspicions[kind])))));
    const cards = examples.filter((one) => one.suspicion === chosen).map(card);
    byId("label-cards").replaceChildren(make("p", { class: "quiet", style: "grid-column: 1 / -1" }, capital(suspicionTexts[chosen]) + "."), ...cards);
  };
  if (kinds.length) draw(kinds[0]);
}

function startChanges() {
  if (data.other === null) return;
  byId("changes").hidden = false;
  byId("change-lead").textContent =
    `Objects that only one of the two runs finds, each from its own best confidence on. ${data.name} finds ${plural(data.changes.gained, "object")} that ${data.other} does not, and misses ${count(data.changes.lost)} that it finds.`;
  const draw = (chosen) => {
    byId("change-chips").replaceChildren(...["gained", "lost"].map((kind) => make("button", {
      type: "button", "aria-pressed": String(kind === chosen), onclick: () => draw(kind),
    }, `Only ${kind === "gained" ? data.name : data.other}`, make("span", { class: "count" }, count(data.changes[kind])))));
    const cards = allExamples.filter((one) => one.kind === chosen).map(card);
    byId("change-cards").replaceChildren(...(cards.length ? cards : [make("p", { class: "nothing" }, "None.")]));
  };
  draw(data.changes.lost ? "lost" : "gained");
}
