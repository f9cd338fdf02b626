const charts = new Map();
const drawers = [];

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const faded = (name, percent) => `color-mix(in srgb, ${color(name)} ${percent}%, ${color("ground")})`;

/** Draws a chart, now and whenever the theme changes; `configure` reads the colours anew. */
function chart(id, configure) {
  const draw = () => {
    charts.get(id)?.destroy();
    charts.set(id, new Chart(byId(id), configure()));
  };
  drawers.push(draw);
  draw();
  return draw;
}

function applyChartColors() {
  Chart.defaults.color = color("quiet");
  Chart.defaults.borderColor = color("line");
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.font.size = 12;
  Chart.defaults.animation = false;
  Chart.defaults.maintainAspectRatio = false;
  Chart.defaults.plugins.legend.labels.boxWidth = 12;
  Chart.defaults.plugins.legend.labels.boxHeight = 12;
  Chart.defaults.plugins.tooltip.displayColors = false;
  Chart.defaults.elements.point.radius = 0;
  Chart.defaults.elements.line.borderWidth = 2;
}

function redrawCharts() {
  applyChartColors();
  for (const draw of drawers) draw();
}

/** An axis of percents or other numbers without a frame. */
function axis(title, options = {}) {
  return { title: { display: Boolean(title), text: title }, border: { display: false }, ...options };
}
const tenths = { stepSize: 0.2, callback: (value) => value.toFixed(1) };
const noGrid = { grid: { display: false }, border: { display: false } };

/** Bars of one run, or of two side by side. */
function barSets(values, others, extra = {}) {
  const sets = [{ label: data.name, data: values, backgroundColor: color("accent"), ...extra }];
  if (data.other !== null) {
    sets.push({ label: data.other, data: others, backgroundColor: color("second"), ...extra });
  }
  return sets;
}
const bar = { maxBarThickness: 34, borderRadius: 3, minBarLength: 2 };

function drawErrors() {
  const { kinds, run, other } = data.errors;
  chart("chart-errors", () => ({
    type: "bar",
    data: {
      labels: kinds.map(capital),
      datasets: barSets(kinds.map((k) => run.costs[k]), other && kinds.map((k) => other.costs[k]), bar),
    },
    options: {
      indexAxis: "y",
      onClick: (_, hits) => hits.length && showPictures({ kind: kinds[hits[0].index] }),
      plugins: { legend: { display: data.other !== null } },
      scales: { x: axis("points of AP50", { beginAtZero: true, suggestedMax: 1 }), y: { ...noGrid, ticks: { color: color("ink") } } },
    },
  }));
}

function drawCurves() {
  let chosen = -1;
  const dashes = { 0.5: [], 0.75: [6, 4], 0.9: [2, 3] };
  const points = (values) => values.map((y, i) => ({ x: data.precision_recall.recall[i], y }));
  const line = (label, values, tint, dash) => ({
    label, data: points(values), borderColor: color(tint), backgroundColor: color(tint), borderDash: dash, pointHitRadius: 6,
  });
  const sets = () => {
    const { mean, other, classes } = data.precision_recall;
    if (chosen >= 0) {
      return [line(`${className(chosen)}, IoU 0.5`, classes[chosen], "accent", []),
        { ...line("mean of all classes", mean["0.5"], "other", []), borderWidth: 1.5 }];
    }
    const lines = Object.keys(mean).map((iou) => line(data.other === null ? `IoU ${iou}` : `${data.name}, IoU ${iou}`, mean[iou], "accent", dashes[iou]));
    for (const iou of Object.keys(other)) lines.push(line(`${data.other}, IoU ${iou}`, other[iou], "second", dashes[iou]));
    return lines;
  };
  const draw = chart("chart-curves", () => ({
    type: "line",
    data: { datasets: sets() },
    options: {
      interaction: { mode: "index", intersect: false },
      plugins: { legend: { position: window.innerWidth < 700 ? "bottom" : "right", align: "start", labels: { usePointStyle: false, boxHeight: 1, boxWidth: 24 } },
        tooltip: { callbacks: { title: (items) => `recall ${items[0].parsed.x.toFixed(2)}`, label: (item) => `${item.dataset.label}: ${item.parsed.y.toFixed(3)}` } } },
      scales: { x: axis("recall", { type: "linear", min: 0, max: 1, ticks: tenths }), y: axis("precision", { min: 0, max: 1, ticks: tenths }) },
    },
  }));
  const known = data.classes.map((one, i) => [i, one]).filter(([, one]) => one.objects > 0);
  fillSelect(byId("curve-class"), [["-1", "all"], ...known.map(([i, one]) => [String(i), one.name])], (value) => {
    chosen = Number(value);
    draw();
  });
}

function drawParts(id, parts) {
  chart(id, () => ({
    type: "bar",
    data: {
      labels: parts.map((part) => [part.name, count(part.objects)]),
      datasets: barSets(parts.map((part) => part.ap), parts.map((part) => part.other), bar),
    },
    options: {
      plugins: { legend: { display: false },
        tooltip: { callbacks: { title: () => "", label: (item) => `${data.other === null ? "" : item.dataset.label + ": "}AP ${number(item.parsed.y)}`,
          afterLabel: (item) => plural(parts[item.dataIndex].objects, "object") } } },
      scales: { x: { ...noGrid, ticks: { maxRotation: 0, autoSkip: false, font: { size: 11 } } }, y: axis("", { min: 0, max: 100, ticks: { stepSize: 25 } }) },
    },
  }));
}

function drawCalibration() {
  const { bins, error } = data.calibration;
  byId("calibration-lead").textContent = error === null
    ? "There are no predictions."
    : `Predictions of a confidence of 0.8 should be right 8 times in 10: bars should reach the line. On average over all predictions they miss it by ${number(error)} points (expected calibration error).`;
  const labels = bins.map((bin) => `${bin.low.toFixed(1)}–${(bin.low + 0.1).toFixed(1)}`);
  const ticks = { ticks: { maxRotation: 0, autoSkip: true, font: { size: 11 } } };
  chart("chart-calibration", () => ({
    data: {
      labels,
      datasets: [
        { type: "line", label: "as confident as right", data: bins.map((bin) => bin.confidence ?? bin.low + 0.05), borderColor: color("found"), borderDash: [5, 4], borderWidth: 1.5 },
        { type: "bar", label: "share that is right", data: bins.map((bin) => bin.precision), backgroundColor: color("accent"), ...bar, maxBarThickness: 60, categoryPercentage: 0.92 },
      ],
    },
    options: { plugins: { legend: { display: false } }, scales: { x: { ...noGrid, ...ticks, title: { display: true, text: "confidence" } }, y: axis("", { min: 0, max: 1, ticks: tenths }) } },
  }));
  chart("chart-confidences", () => ({
    type: "bar",
    data: { labels, datasets: [{ label: "predictions", data: bins.map((bin) => bin.number), backgroundColor: color("other"), ...bar, maxBarThickness: 60, categoryPercentage: 0.92 }] },
    options: { plugins: { legend: { display: false } }, scales: { x: { ...noGrid, ...ticks, title: { display: true, text: "confidence" } }, y: axis("", { beginAtZero: true, ticks: { precision: 0, maxTicksLimit: 6 } }) } },
  }));
}
