// What a figure tells: hover texts of the traces, and rows for the CSV, from the columns of the marks.
const FIELD = /\{(\w+)(?::(,?)\.(\d+)([%fg]))?\}/g;
const ESCAPED = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;", "\n": "<br>" };

// Values of a column: listed, or all the same, or each word once and which is at a row.
export function unpackColumn(column, count) {
  if (Array.isArray(column)) return column;
  if ("all" in column) return Array(count).fill(column.all);
  return column.at.map((place) => column.each[place]);
}

// As Python's format ".4g": so many digits, and a power of ten for what is very small or large.
function significant(value, digits) {
  const power = value === 0 ? 0 : Number(value.toExponential(digits - 1).split("e")[1]);
  if (power >= -4 && power < digits) return String(Number(value.toPrecision(digits)));
  const [number, exponent] = value.toExponential(digits - 1).split("e");
  return `${Number(number)}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
}

// As Python's format ".2f": what lies exactly half-way, such as 4.125, goes to the even digit.
function fixed(value, digits) {
  const scaled = Math.abs(value) * 10 ** digits;
  const halfWay = Number.isInteger(value * 2 ** (Number(digits) + 1)) && scaled % 1 === 0.5;
  const even = halfWay && Math.floor(scaled) % 2 === 0;
  return (even ? (Math.sign(value) * Math.floor(scaled)) / 10 ** digits : value).toFixed(digits);
}

function written(value, commas, digits, how) {
  if (value === null || value === undefined) return "unknown";
  if (!how) return String(value);
  if (how === "g") return significant(value, Number(digits) || 1);
  const text = fixed(how === "%" ? 100 * value : value, digits);
  return (commas ? text.replace(/\B(?=(\d{3})+(?!\d))/g, ",") : text) + (how === "%" ? "%" : "");
}

function rowTexts(told) {
  const columns = {};
  for (const [name, column] of Object.entries(told.columns)) columns[name] = unpackColumn(column, told.count);
  const text = (row) =>
    told.text.replace(FIELD, (_, name, commas, digits, how) => written(columns[name][row], commas, digits, how));
  return (row) => text(row).replace(/[&<>"'\n]/g, (letter) => ESCAPED[letter]);
}

function rowNumbers(run) {
  return Array.isArray(run) ? run : Array.from({ length: run.count }, (_, place) => run.from + place);
}

function inGrid(told, shape, at) {
  const grid = Array.from({ length: shape[0] }, () => Array(shape[1]).fill(""));
  rowNumbers(at).forEach((place, row) => {
    grid[Math.floor(place / shape[1])][place % shape[1]] = told[row];
  });
  return grid;
}

// Writes the hover texts of the traces of a variant, those of the frames of a film too.
export function tellOnHover({ figure, told }) {
  const text = new Map();
  for (const trace of [figure, ...(figure.frames ?? [])].flatMap((each) => each.data)) {
    if (!trace.customdata) continue;
    const { mark, rows, shape, at } = trace.customdata;
    if (!text.has(mark)) text.set(mark, rowTexts(told[mark]));
    const lines = rowNumbers(rows).map(text.get(mark));
    trace.customdata = shape ? inGrid(lines, shape, at) : lines;
  }
}

// Cells of a symmetric matrix, of which a variant holds the half from the diagonal on.
export function unfoldCells({ data }) {
  for (const trace of data.filter((each) => each.z?.half)) {
    const { size, half } = trace.z;
    const rows = Array.from({ length: size }, () => Array(size));
    let next = 0;
    for (let row = 0; row < size; row++) {
      for (let column = row; column < size; column++) {
        rows[row][column] = half[next];
        rows[column][row] = half[next];
        next += 1;
      }
    }
    trace.z = rows;
  }
}
