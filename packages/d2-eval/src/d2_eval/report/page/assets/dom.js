const data = JSON.parse(document.getElementById("data-figures").textContent);
let pictures = null; // parsed when the first card is shown

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; texts become text, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const minus = (text) => text.replace("-", "−");
const number = (value, digits = 1) =>
  value === null || value === undefined ? "–" : minus(value.toFixed(digits));
const count = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");
const plural = (value, one, many = one + "s") => `${count(value)} ${value === 1 ? one : many}`;
const signed = (value, digits = 1) =>
  value === null || value === undefined ? "–" : (value > 0 ? "+" : "") + number(value, digits);
/** A confidence, with as many digits as tell it from 0. */
const confidence = (value) => (value >= 0.01 || value === 0 ? value.toFixed(2) : value.toPrecision(1));
const range = (pair) =>
  !pair || pair[0] === null ? "" : `${number(pair[0])} to ${number(pair[1])}`;
const className = (label) => (label < 0 ? "nothing" : data.classes[label].name);

/** A table of a heading and rows of nodes or texts; `right` names the columns of numbers. */
function table(headings, rows, right, caption = null) {
  const cell = (tag, content, column) => make(tag, { class: right.has(column) ? "n" : null }, content);
  return make(
    "table", {},
    caption === null ? null : make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...headings.map((text, i) => cell("th", text, i)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((content, i) => cell("td", content, i))))),
  );
}

/** Fills a select; `chosen` is called with the value, a text. */
function fillSelect(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  select.addEventListener("change", () => chosen(select.value));
}
