// The data of a figure as CSV.
import { unpackColumn } from "./told.js";

// A cell that begins so is a formula to a spreadsheet.
const FORMULA = /^[=+\-@\t\r]/;

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const safe = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function lines(rows) {
  return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
}

// Rows of the marks below each other; a column that a mark lacks is empty there.
export function csvOfRows(told) {
  const marks = Object.values(told);
  const names = [...new Set(marks.flatMap((mark) => Object.keys(mark.columns)))];
  const rows = [names];
  for (const { columns, count } of marks) {
    const held = names.map((name) => (columns[name] ? unpackColumn(columns[name], count) : null));
    for (let row = 0; row < count; row++) rows.push(held.map((column) => column?.[row]));
  }
  return lines(rows);
}

// Cells too many to be carried twice, as they are drawn: a row of names, then a row for each row of cells.
export function csvOfCells({ data, layout }) {
  const cells = data.find((trace) => trace.type === "heatmap");
  if (!cells) return "";
  const names = (axis, places) => places.map((at) => axis.ticktext?.[axis.tickvals.indexOf(at)] ?? at);
  const down = names(layout.yaxis, cells.y);
  return lines([["", ...names(layout.xaxis, cells.x)], ...down.map((name, row) => [name, ...cells.z[row]])]);
}
