// The page: draws each figure for the reader's choices when it comes near, and keeps them in the address.
import { closestVariant, readChoices, writeChoices } from "./choices.js";
import { csvOfCells, csvOfColumns } from "./csv.js";
import { fitFigure, isNarrow } from "./fitting.js";

const index = JSON.parse(document.getElementById("index").textContent);
const form = document.getElementById("choices");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const PRINTED = 680; // pixels that a page of A4 has room for
const shown = new Map(); // of each kind, what is drawn: blob, text, div
const texts = new Map(); // a few variants, unpacked
const KEPT = 24;
let choice = readChoices(window.location.hash, index);

function tones(printing = false) {
  const css = getComputedStyle(document.documentElement);
  const tone = (name) => css.getPropertyValue(`--${name}`).trim();
  const light = { ink: "#1f2328", soft: "#59636e", card: "#f6f8fa", printing: true };
  return printing ? light : { ink: tone("ink"), soft: tone("soft"), card: tone("card"), dark: dark.matches };
}

async function unpack(blob) {
  if (texts.has(blob)) return texts.get(blob);
  const bytes = Uint8Array.from(atob(document.getElementById(`blob-${blob}`).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  if (texts.size >= KEPT) texts.delete(texts.keys().next().value);
  texts.set(blob, text);
  return text;
}

function place(kind) {
  return document.getElementById(`figure-${kind}`);
}

function draw(kind, text, width, colours) {
  const canvas = place(kind).querySelector(".canvas");
  const variant = fitFigure(text, width, colours);
  const config = {
    displaylogo: false,
    responsive: false,
    displayModeBar: isNarrow(width) ? false : "hover",
    // Newer releases of plotly offer to send a figure to a server of theirs.
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "sendChartToCloud", "sendDataToCloud"],
  };
  Plotly.react(canvas, { ...variant.figure, config });
  canvas.style.minHeight = "0";
  name(canvas, `${variant.title}, ${variant.subtitle}`);
  return variant;
}

// Of the layers of a picture the first bears its name; the numbers are in the tables beside it, and in its data.
function name(canvas, label) {
  canvas.querySelectorAll(".main-svg").forEach((picture, place) => {
    if (place) picture.setAttribute("aria-hidden", "true");
    else {
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", label);
    }
  });
}

function note(kind, fitting) {
  const figure = index.figures[kind];
  const named = fitting.missed.filter((name) => name !== "epoch" || figure.variants.length > 1);
  if (!named.length) return "";
  const options = figure.follows.map((name) => {
    const value = name === "score" ? choice.scores[kind] : choice[name];
    return value ? ` --${name} ${/^[\w.-]+$/.test(value) ? value : `'${value.replaceAll("'", `'"'"'`)}'`}` : "";
  });
  return `Not on this page for the chosen ${named.join(" and ")}; the nearest is drawn. featlab plot ${index.source} ${kind}${options.join("")}`;
}

async function show(kind) {
  const fitting = closestVariant(index.figures[kind], kind, choice);
  const figure = place(kind);
  const width = Math.floor(figure.clientWidth);
  const key = `${fitting.blob}/${width}/${dark.matches}`;
  figure.querySelector(".note").textContent = note(kind, fitting);
  if (shown.get(kind)?.key === key) return;
  shown.set(kind, { key });
  figure.classList.add("waiting");
  const text = await unpack(fitting.blob);
  if (shown.get(kind).key !== key) return; // another choice came meanwhile
  const variant = draw(kind, text, width, tones());
  shown.set(kind, { key, text });
  figure.querySelector("h3").textContent = variant.title;
  figure.querySelector(".of").textContent = variant.subtitle;
  figure.querySelector(".how").textContent = variant.how;
  figure.dataset.drawn = key;
  figure.classList.remove("waiting");
}

const seen = new Set();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      watcher.unobserve(entry.target);
      see(entry.target.dataset.kind);
    }
  },
  { rootMargin: "600px" },
);

function see(kind) {
  seen.add(kind);
  return show(kind);
}

// Figures far below are drawn when the page has nothing else to do: they are there when it is printed.
async function drawRest() {
  for (const kind of Object.keys(index.figures)) {
    if (seen.has(kind)) continue;
    await new Promise((resolve) => {
      setTimeout(resolve, 30);
    });
    await see(kind);
  }
  document.documentElement.dataset.complete = "yes";
}

function answers() {
  for (const answer of document.querySelectorAll(".answer")) {
    answer.hidden = Object.entries(answer.dataset).some(([name, value]) => choice[name] !== value);
  }
}

function controls() {
  if (!form) return;
  const said = [];
  for (const name of ["split", "layer", "epoch", "space"]) {
    const field = form.elements.namedItem(name);
    if (!field) continue;
    if (name === "epoch") {
      field.value = String(index.choices.epoch.indexOf(choice.epoch));
      field.setAttribute("aria-valuetext", `epoch ${choice.epoch}`);
      field.nextElementSibling.textContent = choice.epoch;
      said.push(`epoch ${choice.epoch}`);
    } else {
      field.value = choice[name];
      said.push(field.selectedOptions[0].textContent);
    }
  }
  document.getElementById("chosen").textContent = said.join(" · ");
  for (const [kind, score] of Object.entries(choice.scores)) {
    const field = place(kind).querySelector("select");
    if (field) field.value = score;
  }
}

function apply() {
  controls();
  answers();
  return Promise.all([...seen].map(show));
}

function keep() {
  const address = writeChoices(choice, index);
  if (address !== window.location.hash) {
    window.history.replaceState(null, "", address || window.location.pathname + window.location.search);
  }
}

function choose(event) {
  const field = event.target;
  if (field.name === "score") choice.scores[field.dataset.kind] = field.value;
  else choice[field.name] = field.name === "epoch" ? index.choices.epoch[Number(field.value)] : field.value;
  keep();
  apply();
}

async function download(kind) {
  await see(kind);
  const { csv, figure } = JSON.parse(shown.get(kind).text);
  const text = csv ? csvOfColumns(csv) : csvOfCells(figure);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `${kind}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

function print(printing) {
  for (const [kind, { text }] of shown) {
    if (text) draw(kind, text, printing ? PRINTED : Math.floor(place(kind).clientWidth), tones(printing));
  }
}

let waiting = 0;
function later(act) {
  clearTimeout(waiting);
  waiting = setTimeout(act, 150);
}

form?.addEventListener("submit", (event) => event.preventDefault());
form?.addEventListener("input", choose);
for (const field of document.querySelectorAll("figure select")) field.addEventListener("change", choose);
for (const button of document.querySelectorAll(".csv")) {
  button.addEventListener("click", () => download(button.closest("figure").dataset.kind));
}
for (const link of document.querySelectorAll("nav a")) {
  link.addEventListener("click", (event) => {
    event.preventDefault(); // the address holds the choices
    const section = document.getElementById(link.hash.slice(1));
    section.scrollIntoView();
    section.tabIndex = -1;
    section.focus({ preventScroll: true });
  });
}
window.addEventListener("hashchange", () => {
  choice = readChoices(window.location.hash, index);
  apply();
});
window.addEventListener("resize", () => later(apply));
dark.addEventListener("change", apply);
window.addEventListener("beforeprint", () => print(true));
window.addEventListener("afterprint", () => print(false));

if (form && window.innerWidth < 600) form.querySelector("details").open = false;
controls();
answers();
for (const kind of Object.keys(index.figures)) watcher.observe(place(kind));
setTimeout(drawRest, 300);
