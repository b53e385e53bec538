// The page: draws each figure for the reader's choices when it comes near, and keeps them in the address.
import { closestVariant, readChoices, writeChoices } from "./choices.js";
import { csvOfCells, csvOfRows } from "./csv.js";
import { fitFigure, isNarrow } from "./fitting.js";
import { tellOnHover, unfoldCells } from "./told.js";

const index = JSON.parse(document.getElementById("index").textContent);
const form = document.getElementById("choices");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const PRINTED = 680; // pixels that a page of A4 has room for
const shown = new Map(); // of each kind that is drawn: which variant, how wide, in which light, and its text
const ready = new Map(); // of each kind, the variant of the current choices, unpacked or on its way: blob, text, coming
const near = new Set(); // kinds that are on the screen, or little beyond it
const texts = new Map(); // a few variants, unpacked
const KEPT = 24;
let choice = readChoices(window.location.hash, index);

function tones(printing = false) {
  const css = getComputedStyle(document.documentElement);
  const tone = (name) => css.getPropertyValue(`--${name}`).trim();
  const light = { ink: "#1f2328", soft: "#59636e", card: "#f6f8fa", printing: true };
  return printing ? light : { ink: tone("ink"), soft: tone("soft"), card: tone("card"), dark: dark.matches };
}

// What a variant is packed in. The page is drawn while the rest of it is still read.
async function packed(blob) {
  const id = `blob-${blob}`;
  if (!document.getElementById(id) && document.readyState === "loading") {
    await new Promise((resolve) => {
      document.addEventListener("DOMContentLoaded", resolve, { once: true });
    });
  }
  return document.getElementById(id).textContent;
}

async function unpack(blob) {
  if (texts.has(blob)) return texts.get(blob);
  const bytes = Uint8Array.from(atob(await packed(blob)), (c) => c.charCodeAt(0));
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
  const variant = fitFigure(text.slice(text.indexOf("\n")), width, colours);
  tellOnHover(variant);
  unfoldCells(variant.figure);
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
  name(canvas, place(kind));
}

// Of the layers of a picture the first bears its name; the numbers are in the tables beside it, and in its data.
function name(canvas, figure) {
  const label = ["h3", ".of"].map((part) => figure.querySelector(part).textContent).join(", ");
  canvas.querySelectorAll(".main-svg").forEach((picture, place) => {
    if (place) picture.setAttribute("aria-hidden", "true");
    else {
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", label);
    }
  });
}

function note(kind, missed) {
  const figure = index.figures[kind];
  const named = missed.filter((name) => name !== "epoch" || figure.variants.length > 1);
  if (!named.length) return "";
  const options = figure.follows.map((name) => {
    const value = name === "score" ? choice.scores[kind] : choice[name];
    return value ? ` --${name} ${/^[\w.-]+$/.test(value) ? value : `'${value.replaceAll("'", `'"'"'`)}'`}` : "";
  });
  return `Not on this page for the chosen ${named.join(" and ")}; the nearest is drawn. featlab plot ${index.source} ${kind}${options.join("")}`;
}

// Title and words of a variant: its first line. Its figure, the second one, is parsed when it is drawn.
function head(kind, text) {
  const said = JSON.parse(text.slice(0, text.indexOf("\n")));
  const figure = place(kind);
  figure.querySelector("h3").textContent = said.title;
  figure.querySelector(".of").textContent = said.subtitle;
  figure.querySelector(".how").textContent = said.how;
}

// The variant of a kind for the current choices, unpacked; nothing where others were chosen meanwhile.
function prepare(kind) {
  const { blob, missed } = closestVariant(index.figures[kind], kind, choice);
  place(kind).querySelector(".note").textContent = note(kind, missed);
  if (ready.get(kind)?.blob === blob) return ready.get(kind).coming;
  const mine = { blob };
  ready.set(kind, mine);
  mine.coming = unpack(blob).then((text) => {
    if (ready.get(kind) !== mine) return null;
    mine.text = text;
    head(kind, text);
    return mine;
  });
  return mine.coming;
}

// Draws a kind where it differs from what is there.
async function show(kind) {
  const figure = place(kind);
  figure.classList.add("waiting");
  const found = await prepare(kind);
  if (!found || ready.get(kind) !== found) {
    if (!near.has(kind)) figure.classList.remove("waiting"); // else it is being prepared for the newer choices
    return;
  }
  const width = Math.floor(figure.clientWidth);
  const key = `${found.blob}/${width}/${dark.matches}`;
  if (shown.get(kind)?.key !== key) {
    draw(kind, found.text, width, tones());
    shown.set(kind, { key, text: found.text });
    figure.dataset.drawn = key;
  }
  figure.classList.remove("waiting");
}

// A figure is drawn when it comes near.
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const kind = target.dataset.kind;
      if (!isIntersecting) near.delete(kind);
      else {
        near.add(kind);
        show(kind);
      }
    }
  },
  { rootMargin: "600px" },
);

// Figures far away are unpacked when the page has nothing else to do: they can be drawn at once when it is printed.
async function prepareRest() {
  const mine = choice;
  for (const kind of Object.keys(index.figures)) {
    await new Promise((resolve) => {
      setTimeout(resolve);
    });
    await prepare(kind);
  }
  if (mine === choice) document.documentElement.dataset.complete = "yes";
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
  delete document.documentElement.dataset.complete;
  later(prepareRest);
  return Promise.all([...near].map(show));
}

function keep() {
  const address = writeChoices(choice, index);
  if (address !== window.location.hash) {
    window.history.replaceState(null, "", address || window.location.pathname + window.location.search);
  }
}

function choose(event) {
  const field = event.target;
  choice = { ...choice, scores: { ...choice.scores } };
  if (field.name === "score") choice.scores[field.dataset.kind] = field.value;
  else choice[field.name] = field.name === "epoch" ? index.choices.epoch[Number(field.value)] : field.value;
  keep();
  apply();
}

async function download(kind) {
  const text = await unpack(closestVariant(index.figures[kind], kind, choice).blob);
  const { csv, told, figure } = JSON.parse(text.slice(text.indexOf("\n")));
  unfoldCells(figure);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv ? csvOfRows(told) : csvOfCells(figure)], { type: "text/csv" }));
  link.download = `${kind}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

// Printing draws all figures of the current choices, as wide as paper is; afterwards the screen is as it was.
function print() {
  for (const [kind, { text }] of ready) if (text) draw(kind, text, PRINTED, tones(true));
}

function unprint() {
  for (const kind of ready.keys()) {
    const canvas = place(kind).querySelector(".canvas");
    const before = shown.get(kind);
    if (before) draw(kind, before.text, Math.floor(place(kind).clientWidth), tones());
    else {
      Plotly.purge(canvas);
      canvas.style.minHeight = "";
    }
  }
}

const waiting = new Map();
function later(act) {
  clearTimeout(waiting.get(act));
  waiting.set(act, setTimeout(act, 150));
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
window.addEventListener("beforeprint", print);
window.addEventListener("afterprint", unprint);

if (form && window.innerWidth < 600) form.querySelector("details").open = false;
controls();
answers();
for (const kind of Object.keys(index.figures)) watcher.observe(place(kind));
if (document.readyState === "complete") later(prepareRest);
else window.addEventListener("load", () => later(prepareRest));
