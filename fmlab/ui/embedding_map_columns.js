// What the columns say of the points: colours, shapes, the legend's rows, and the density of the training images.

const SHAPES = ["circle", "circle", "triangle", "square", "diamond", "cross", "triangle-down"];
const MARGIN = 0.08; // of the density beyond the points, as a fraction of their extent

// RGBA of every point under a column; grey where it says nothing.
function coloursOf(column, view, count) {
  const colours = new Uint8Array(4 * count);
  const quiet = [...rgbOf(view.ink.quiet), 190];
  const palette = column?.kind === "category" ? column.colours[view.mode].map((hex) => [...rgbOf(hex), 255]) : gradientOf(view.numberColours);
  const [low, high] = column?.range ?? [0, 1];
  for (let i = 0; i < count; i++) {
    const value = column ? column.values[i] : MISSING;
    const place = column?.kind === "number" ? Math.round((255 * (value - low)) / (high - low || 1)) : value;
    colours.set(palette[place] ?? quiet, 4 * i); // MISSING and NaN are no places
  }
  return colours;
}

function gradientOf(hexes) {
  const stops = hexes.map(rgbOf);
  return Array.from({ length: 256 }, (_, k) => {
    const at = (k / 255) * (stops.length - 1);
    const from = Math.min(Math.floor(at), stops.length - 2);
    return [...stops[from].map((value, c) => Math.round(value + (stops[from + 1][c] - value) * (at - from))), 255];
  });
}

function rgbOf(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

function hiddenCodes(column, hidden) {
  if (column?.kind !== "category") return null;
  const codes = new Set(column.categories.flatMap((name, code) => (hidden.has(name) ? [code] : [])));
  if (hidden.has(column.missing)) codes.add(MISSING);
  return codes.size ? codes : null;
}

function isOff(column, codes, i) {
  return codes !== null && codes.has(column.values[i]);
}

// code → how many points have it, of all or of the selected ones.
function countsOf(column, selected) {
  const counts = new Map();
  if (column?.kind !== "category") return counts;
  for (let i = 0; i < column.values.length; i++) {
    if (selected && !selected[i]) continue;
    counts.set(column.values[i], (counts.get(column.values[i]) ?? 0) + 1);
  }
  return counts;
}

// What the legend lists: every category that some point has, or the scale of a number; then the test sets by shape.
function legendSections(colour, shape, view) {
  const rowsOf = (column, shapeOf, colourOf) => {
    const totals = countsOf(column, null);
    const missing = { name: column.missing, code: MISSING, colour: view.ink.quiet, shape: shapeOf(MISSING) };
    const rows = column.categories.map((name, code) => ({ name, code, colour: colourOf(code), shape: shapeOf(code) }));
    return [...rows, missing].map((row) => ({ ...row, total: totals.get(row.code) ?? 0 })).filter((row) => row.total);
  };
  const sections = [];
  if (colour?.kind === "category") {
    const rows = rowsOf(colour, () => "circle", (code) => colour.colours[view.mode][code]);
    sections.push({ name: "colour", title: colour.title, rows });
  } else if (colour) {
    const [low, high] = colour.range;
    const gradient = { colours: view.numberColours, ends: [low, (low + high) / 2, high].map(shortNumber) };
    sections.push({ name: "colour", title: colour.title, rows: [], gradient });
  }
  if (shape) sections.push({ name: "shape", title: shape.title, rows: rowsOf(shape, shapeOfCode, () => view.ink.quiet) });
  return sections;
}

function shapeOfCode(code) {
  return code === MISSING ? "cloud" : SHAPES[shapeNumber(code)];
}

// 0: a training image, a small disc without a rim.
function shapeNumber(code) {
  return code === MISSING ? 0 : 1 + (code % (SHAPES.length - 1));
}

function shortNumber(value) {
  return Number(value.toPrecision(3)).toLocaleString("en");
}

// What a point is in a column, in words.
function valueInWords(column, i) {
  const value = column.values[i];
  if (column.kind === "number") return Number.isFinite(value) ? shortNumber(value) : column.missing;
  return value === MISSING ? column.missing : column.categories[value];
}

// Where the training images lie: counts on a grid, blurred, each cell in the mean colour of its points.
function densityOf(positions, colours, included, quiet) {
  const side = 256;
  const sums = [0, 1, 2, 3].map(() => new Float32Array(side * side)); // red, green, blue, count
  let members = 0;
  for (let i = 0; i < included.length; i++) {
    if (!included[i] || positions[2 * i] === NOWHERE) continue;
    const column = Math.floor(((positions[2 * i] + MARGIN) / (1 + 2 * MARGIN)) * side);
    const row = Math.floor(((positions[2 * i + 1] + MARGIN) / (1 + 2 * MARGIN)) * side);
    const cell = row * side + column;
    for (let k = 0; k < 3; k++) sums[k][cell] += colours[4 * i + k];
    sums[3][cell]++;
    members++;
  }
  if (!members) return null;
  const reach = members > 20000 ? 1 : members > 3000 ? 2 : 3;
  const spare = new Float32Array(side * side);
  for (const values of sums) for (let pass = 0; pass < 3; pass++) blur(values, spare, side, reach);
  // The middle of the cells with points is half opaque, so that few images and many give as clear a picture.
  const filled = sums[3].filter((value) => value > 1e-3).sort();
  const middle = filled[Math.floor(filled.length / 2)] || 1;
  const pixels = new Uint8Array(4 * side * side);
  for (let cell = 0; cell < side * side; cell++) {
    const count = sums[3][cell];
    if (count < 1e-4) continue;
    const opacity = 0.5 * (1 - Math.exp(-0.9 * (count / middle)));
    for (let k = 0; k < 3; k++) pixels[4 * cell + k] = opacity * (0.8 * (sums[k][cell] / count) + 0.2 * quiet[k]);
    pixels[4 * cell + 3] = 255 * opacity;
  }
  return { side, pixels };
}

// A mean over 2·reach + 1 cells, along rows and then along columns; three passes come close to a Gaussian.
function blur(values, spare, side, reach) {
  for (const [from, to, along, across] of [[values, spare, 1, side], [spare, values, side, 1]]) {
    for (let line = 0; line < side; line++) {
      let sum = 0;
      for (let k = -reach; k < side; k++) {
        if (k + reach < side) sum += from[line * across + (k + reach) * along];
        if (k - reach - 1 >= 0) sum -= from[line * across + (k - reach - 1) * along];
        if (k >= 0) to[line * across + k * along] = Math.max(0, sum / (2 * reach + 1));
      }
    }
  }
}
