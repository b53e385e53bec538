// The reader's choices: kept in the page's address, and the variant of a figure that fits them best.
// Of a figure that lacks a combination, what is given up last stands first.
const WEIGHTS = { split: 8, layer: 4, score: 2, space: 1 };

// "#layer=fc&score.heatmap=snr" as choices; what the page does not offer is left at its start.
export function readChoices(address, index) {
  const choice = { ...index.start, scores: {} };
  for (const [name, value] of new URLSearchParams(address.replace(/^#/, ""))) {
    const kind = name.startsWith("score.") ? name.slice("score.".length) : "";
    if (Object.hasOwn(index.choices, name) && index.choices[name].includes(value)) {
      choice[name] = value;
    } else if (Object.hasOwn(index.figures, kind) && index.figures[kind].scores.includes(value)) {
      choice.scores[kind] = value;
    }
  }
  return choice;
}

// Choices as an address that names those that depart from the start.
export function writeChoices(choice, index) {
  const said = new URLSearchParams();
  for (const name of Object.keys(index.choices)) {
    if (choice[name] !== index.start[name]) said.set(name, choice[name]);
  }
  for (const [kind, score] of Object.entries(choice.scores)) {
    if (score !== index.figures[kind].scores[0]) said.set(`score.${kind}`, score);
  }
  const text = said.toString();
  return text ? `#${text}` : "";
}

// Values of the choices that a figure follows.
function wanted(figure, kind, choice) {
  return figure.follows.map((name) =>
    name === "score" ? (choice.scores[kind] ?? figure.scores[0] ?? "") : choice[name],
  );
}

// The variant that fits best: number of its blob, and the names of the choices that it does not meet.
export function closestVariant(figure, kind, choice) {
  const want = wanted(figure, kind, choice);
  let best = null;
  for (const [values, blob] of figure.variants) {
    const missed = figure.follows.filter((_, place) => values[place] !== want[place]);
    const cost = missed.reduce((sum, name) => sum + distance(name, values, want, figure.follows), 0);
    if (best === null || cost < best.cost) best = { blob, missed, cost, values };
    if (cost === 0) break;
  }
  return best;
}

// Epochs are as far apart as their numbers are, and always nearer than another layer.
function distance(name, values, want, follows) {
  if (name !== "epoch") return WEIGHTS[name];
  const place = follows.indexOf("epoch");
  const apart = Math.abs(Number(values[place]) - Number(want[place]));
  return apart / (apart + 1);
}
