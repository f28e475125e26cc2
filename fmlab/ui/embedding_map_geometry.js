// The points: decoded from the bytes of `geometry_blob`, with a grid to find the nearest one in each panel.

const MISSING = 65535;
const NOWHERE = -1000; // where a point without coordinates is put: outside of every view

function decodeGeometry(bytes) {
  const digest = new TextDecoder().decode(bytes.subarray(8, 40));
  const length = new DataView(bytes.buffer).getUint32(40, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(44, 44 + length)));
  let offset = padded(44 + length);
  const take = (type) => {
    const values = new type(bytes.buffer, offset, header.points);
    offset = padded(offset + values.byteLength);
    return values;
  };
  const panels = header.panels.map((title) => panelOf(title, take(Float32Array), take(Float32Array)));
  const columns = new Map();
  for (const column of header.columns) {
    const values = take(column.kind === "category" ? Uint16Array : Float32Array);
    columns.set(column.name, { ...column, values, range: column.kind === "number" ? rangeOf(values) : null });
  }
  return { digest, count: header.points, panels, columns, order: shuffled(header.points) };
}

function padded(offset) {
  return (offset + 3) & ~3;
}

// Coordinates become fractions of the panel's extent: a square around all points, y upwards.
function panelOf(title, x, y) {
  const [left, right] = rangeOf(x);
  const [bottom, top] = rangeOf(y);
  const side = Math.max(right - left, top - bottom) || 1;
  const positions = new Float32Array(2 * x.length);
  for (let i = 0; i < x.length; i++) {
    const there = Number.isFinite(x[i]) && Number.isFinite(y[i]);
    positions[2 * i] = there ? (x[i] - left) / side : NOWHERE;
    positions[2 * i + 1] = there ? (y[i] - bottom) / side : NOWHERE;
  }
  return { title, positions, width: (right - left) / side, height: (top - bottom) / side, grid: gridOf(positions) };
}

function rangeOf(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}

// The same order at every visit, so that a picture of the map can be taken again.
function shuffled(count) {
  const order = new Uint32Array(count).map((_, i) => i);
  let seed = 12345;
  for (let i = count - 1; i > 0; i--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((seed / 4294967296) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// Points sorted by cell: those of cell c are members[starts[c]] … members[starts[c + 1] − 1].
function gridOf(positions) {
  const count = positions.length / 2;
  const cells = Math.max(8, Math.min(160, Math.round(Math.sqrt(count / 3))));
  const cellOf = (i) => cellAt(positions[2 * i + 1], cells) * cells + cellAt(positions[2 * i], cells);
  const starts = new Uint32Array(cells * cells + 1);
  for (let i = 0; i < count; i++) if (positions[2 * i] !== NOWHERE) starts[cellOf(i) + 1]++;
  for (let c = 0; c < cells * cells; c++) starts[c + 1] += starts[c];
  const members = new Uint32Array(starts[cells * cells]);
  const next = starts.slice();
  for (let i = 0; i < count; i++) if (positions[2 * i] !== NOWHERE) members[next[cellOf(i)]++] = i;
  return { cells, starts, members };
}

function cellAt(fraction, cells) {
  return Math.max(0, Math.min(cells - 1, Math.floor(fraction * cells)));
}

// The nearest allowed point within `reach` (fractions); a preferred one wins over a nearer one. −1: none.
function nearestPoint(panel, x, y, reach, allowed, preferred) {
  const { cells, starts, members } = panel.grid;
  let best = -1;
  let bestDistance = Infinity;
  for (let row = cellAt(y - reach, cells); row <= cellAt(y + reach, cells); row++) {
    for (let column = cellAt(x - reach, cells); column <= cellAt(x + reach, cells); column++) {
      const cell = row * cells + column;
      for (let k = starts[cell]; k < starts[cell + 1]; k++) {
        const i = members[k];
        if (!allowed[i]) continue;
        const distance = Math.hypot(panel.positions[2 * i] - x, panel.positions[2 * i + 1] - y);
        if (distance > reach) continue;
        const rank = preferred[i] ? distance : distance + reach;
        if (rank < bestDistance) [best, bestDistance] = [i, rank];
      }
    }
  }
  return best;
}
