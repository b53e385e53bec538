// Fits a figure of plotly to the width it has and to the page's colours.
const NARROW = 600;
const PANEL = 300; // least width of one of several panels
const TITLE = 26;
const TOOLBAR = 16;
const FILM = 92; // of buttons and slider
const BAR = 56; // of a lying bar of colours
const APART = 15; // from one slanted label to the next
const LETTER = 6.6;
const LINE = 17;
const TALLEST = 800; // pixels of height that a page has room for below headings; what is far higher goes over several
const FEWEST = 7; // letters of a shortened word
const INK = "#1f2328";
const SOFT = "#59636e";
const IN_DARK = { "#00606C": "#28F08C", "#A8240C": "#B43C50", "#9000C0": "#F0C8F0" }; // as palette.py has them
const BAND = 0.18; // how much of its colour a band has on paper
const BAND_IN_DARK = 0.36;

// Words and lines in the ink of paper take that of the page, and what is dim in the dark a lighter colour.
function recolour(text, tones) {
  const pairs = Object.entries({ [SOFT]: tones.soft, [INK]: tones.ink, ...(tones.dark ? IN_DARK : {}) });
  return pairs.reduce((told, [from, to]) => told.replaceAll(`"${from}"`, JSON.stringify(to)), text);
}

function paintBands(data, tones) {
  if (!tones.dark) return;
  for (const trace of data) {
    if (trace.fillcolor) trace.fillcolor = trace.fillcolor.replace(`, ${BAND})`, `, ${BAND_IN_DARK})`);
  }
}

function axes(layout, letter) {
  const names = Object.keys(layout).filter((name) => name.startsWith(`${letter}axis`));
  return names.sort((a, b) => Number(a.slice(5) || 1) - Number(b.slice(5) || 1));
}

function paint(layout, tones) {
  layout.font = { ...layout.font, color: tones.ink };
  layout.hoverlabel = { ...layout.hoverlabel, bgcolor: tones.card, font: { color: tones.ink } };
  for (const name of [...axes(layout, "x"), ...axes(layout, "y")]) {
    Object.assign(layout[name], { linecolor: tones.soft, tickcolor: tones.soft });
  }
  paintFilm(layout, tones);
}

// The buttons and the slider of a film.
function paintFilm(layout, tones) {
  for (const menu of layout.updatemenus ?? []) Object.assign(menu, { bgcolor: tones.card, bordercolor: tones.soft });
  for (const slider of layout.sliders ?? []) {
    Object.assign(slider, {
      bgcolor: tones.card,
      bordercolor: tones.soft,
      activebgcolor: tones.soft,
      tickcolor: tones.soft,
    });
  }
}

// Panels of one row become rows of as many as have room.
function stack(layout, width) {
  const xs = axes(layout, "x");
  const ys = axes(layout, "y");
  const columns = new Set(xs.map((name) => (layout[name].domain ?? [0, 1])[0].toFixed(3))).size;
  const fitting = Math.max(1, Math.floor(width / PANEL));
  if (columns <= fitting) return;
  const { t, b } = layout.margin;
  const between = layout.meta.between + TITLE;
  const [low, high] = layout[ys[0]].domain;
  const tall = (high - low) * (layout.height - t - b);
  const rows = Math.ceil(xs.length / fitting);
  const total = rows * tall + (rows - 1) * between;
  const gap = fitting > 1 ? 0.14 : 0;
  const wide = (1 - gap * (fitting - 1)) / fitting;
  xs.forEach((name, place) => {
    const [row, column] = [Math.floor(place / fitting), place % fitting];
    const left = column * (wide + gap);
    const bottom = Math.max(0, 1 - (row * (tall + between) + tall) / total);
    const before = { x: layout[name].domain[0], y: layout[ys[place]].domain[1] };
    layout[name].domain = [left, Math.min(left + wide, 1)];
    layout[ys[place]].domain = [bottom, Math.min(bottom + tall / total, 1)];
    for (const title of layout.annotations ?? []) {
      const mine = Math.abs(title.x - before.x) < 1e-6 && Math.abs(title.y - before.y) < 1e-6;
      if (mine && title.xref === "paper" && !title.moved) {
        Object.assign(title, { x: left, y: layout[ys[place]].domain[1], moved: true });
      }
    }
  });
  for (const title of layout.annotations ?? []) delete title.moved;
  layout.height = total + t + b;
}

// Labels at the ends of lines, and what leads to them, would leave no room: the legend names the lines instead.
function unlabel(data) {
  const lines = new Map();
  for (const trace of data) {
    if (trace.meta.startsWith("line") && !lines.has(trace.name)) lines.set(trace.name, trace);
  }
  const named = (trace) => trace.text.map((text) => text.replaceAll("\u00a0", " ").trim());
  const labels = data.filter((trace) => trace.mode === "text" && named(trace).every((name) => lines.has(name)));
  for (const name of labels.flatMap(named)) {
    for (const trace of data) {
      if (trace.name === name && trace.meta.startsWith("segment")) trace.visible = false;
    }
    lines.get(name).showlegend = true;
  }
  for (const label of labels) label.visible = false;
}

function shorten(text, most) {
  return text.length > most ? `${text.slice(0, Math.max(most - 1, 1))}…` : text;
}

// Labels of categories take at most three tenths of the width, and below a plot stand apart from each other.
function cut(layout, width) {
  const most = Math.floor((0.3 * width) / LETTER);
  for (const name of axes(layout, "y")) {
    const axis = layout[name];
    if (axis.ticktext && axis.showticklabels !== false)
      axis.ticktext = axis.ticktext.map((text) => shorten(text, most));
  }
  for (const name of axes(layout, "x")) {
    const axis = layout[name];
    if (!axis.ticktext || axis.showticklabels === false) continue; // names that are told on hover stay
    const [low, high] = axis.domain ?? [0, 1];
    const step = Math.ceil((axis.ticktext.length * APART) / (0.65 * width * (high - low)));
    const kept = (_, place) => place % step === 0;
    Object.assign(axis, { ticktext: axis.ticktext.filter(kept), tickvals: axis.tickvals.filter(kept) });
    axis.ticktext = axis.ticktext.map((text) => shorten(text, most));
  }
}

// Words inside a plot are cut to the room that they have, and left out where that is for a few letters.
function trim(data, layout, width) {
  const { rooms } = layout.meta;
  for (const trace of data) {
    if (trace.mode !== "text" || rooms?.[trace.meta] === undefined) continue;
    const { domain = [0, 1], range } = layout[(trace.xaxis ?? "x").replace("x", "xaxis")];
    const wide = (width - layout.margin.l - layout.margin.r) * (domain[1] - domain[0]);
    const most = Math.floor((rooms[trace.meta] * wide) / Math.abs(range[1] - range[0]) / (0.57 * trace.textfont.size));
    trace.text = trace.text.map((text) => (text.length > most && most < FEWEST ? "" : shorten(text, most)));
  }
}

// The legend below all else, and the slider of a film above it.
function foot(data, layout, width) {
  const { between } = layout.meta;
  const named = data.filter((trace) => trace.showlegend && trace.visible !== false);
  const letters = named.reduce((sum, trace) => sum + 60 + LETTER * trace.name.length, 0);
  const legend = Math.ceil(letters / width) * 20 + (layout.legend.title?.text ? 22 : 0);
  const below = between + (layout.sliders ? FILM : 0) + legend;
  layout.height += below - layout.margin.b;
  layout.margin.b = below;
  const place = { orientation: "h", x: 0, xanchor: "left", xref: "container" };
  const low = { y: 0, yanchor: "bottom", yref: "container" };
  layout.legend = { ...layout.legend, ...place, ...low };
  const tall = layout.height - layout.margin.t - below;
  for (const each of layout.sliders ?? []) Object.assign(each, { x: 0.32, len: 0.68, y: -between / tall });
  for (const each of layout.updatemenus ?? []) each.y = -between / tall;
}

function barOf(trace) {
  return trace.colorbar ?? trace.marker?.colorbar;
}

// Bars of colours lie above the plot, their titles over them. They are placed within the container, and without titles
// of their own: beside the plot they would move that and not the titles of its axes, and plotly misplaces theirs here.
function lay(data, layout) {
  for (const trace of data) {
    const bar = barOf(trace);
    if (!bar) continue;
    const place = { x: 0, xanchor: "left", len: 1, yanchor: "top", yref: "container", xpad: 0, ypad: 0 };
    const title = { text: bar.title.text, font: bar.title.font, showarrow: false };
    const above = { xref: "paper", yref: "paper", x: 0, y: 1, xanchor: "left", yanchor: "bottom", yshift: BAR - 20 };
    layout.annotations = [...(layout.annotations ?? []), { ...title, ...above }];
    Object.assign(bar, { orientation: "h", ...place, title: { text: "" } });
    layout.height += BAR - layout.margin.t;
    layout.margin.t = BAR;
  }
}

// A map with one unit on both axes is no higher than wide.
function square(layout, width) {
  if (!layout.yaxis?.scaleanchor) return;
  const { l, r, t, b } = layout.margin;
  layout.height = Math.min(layout.height, width - l - r + t + b);
}

// An axis whose names are told on hover has its title at the other one, too: at the side it would cover the plot.
function untitle(layout) {
  for (const name of axes(layout, "y")) {
    if (layout[name].showticklabels === false) layout[name].title = { text: "" };
  }
}

// A title that is longer than its axis, beside names that take their share of the width, has two lines.
function wrap(layout, width) {
  let wrapped = 0;
  for (const name of axes(layout, "x")) {
    const text = layout[name].title?.text ?? "";
    if (text.length * LETTER < 0.62 * width) continue;
    const middle = text.lastIndexOf(" ", Math.ceil(text.length / 2));
    if (middle < 0) continue;
    layout[name].title.text = `${text.slice(0, middle)}<br>${text.slice(middle + 1)}`;
    wrapped = LINE;
  }
  layout.meta.between += wrapped;
  layout.margin.b += wrapped;
  layout.height += wrapped;
}

function narrow(data, layout, width) {
  layout.margin = { ...layout.margin, l: 12, r: 14 };
  wrap(layout, width);
  stack(layout, width);
  square(layout, width);
  untitle(layout);
  unlabel(data);
  cut(layout, width);
  lay(data, layout);
  foot(data, layout, width);
  for (const bar of data.map(barOf)) if (bar) bar.y = 1 - 18 / layout.height;
}

// Room above for the toolbar of plotly.
function clear(layout) {
  layout.margin = { ...layout.margin, t: layout.margin.t + TOOLBAR };
  layout.height += TOOLBAR;
}

// A figure as plotly takes it, of the text of a variant.
export function fitFigure(text, width, tones) {
  const variant = JSON.parse(recolour(text, tones));
  const { data, layout } = variant.figure;
  paint(layout, tones);
  paintBands(data, tones);
  if (isNarrow(width)) narrow(data, layout, width);
  else clear(layout);
  trim(data, layout, width);
  if (tones.printing && layout.height < 1.3 * TALLEST) layout.height = Math.min(layout.height, TALLEST);
  layout.width = width;
  layout.autosize = false;
  return variant;
}

export function isNarrow(width) {
  return width < NARROW;
}
