// Outlines that a person drew, as text for the address and as a test of which points lie inside.
// An outline: { add, panel, vertices: [x0, y0, x1, y1, …] } in fractions of its panel's extent.

const OUTLINE_UNITS = 10000; // vertices are whole ten-thousandths of the longer side of the panel's extent
const MOST_VERTICES = 60;
const NEGLIGIBLE = 0.0004; // of the area of the box around an outline

function outlinesFromText(text) {
  return text
    ? text.split("~").map((part) => {
        const [head, ...vertices] = part.split("_");
        return {
          add: head[0] === "a",
          panel: Number(head.slice(1)),
          vertices: vertices.flatMap((vertex) => vertex.split(".").map((value) => Number(value) / OUTLINE_UNITS)),
        };
      })
    : [];
}

function textFromOutlines(outlines) {
  return outlines
    .map(({ add, panel, vertices }) => {
      const units = vertices.map((value) => Math.round(value * OUTLINE_UNITS));
      const pairs = [];
      for (let k = 0; k < units.length; k += 2) pairs.push(`${units[k]}.${units[k + 1]}`);
      return `${add ? "a" : "s"}${panel}_${pairs.join("_")}`;
    })
    .join("~");
}

// At most 60 vertices, and none that nobody would miss: again and again the one goes that spans the smallest triangle
// with its neighbours (Visvalingam and Whyatt, 1993). Rounded as the text is, so that a link selects exactly what the person saw selected.
function simplified(vertices) {
  const points = [];
  for (let k = 0; k < vertices.length; k += 2) points.push([vertices[k], vertices[k + 1]]);
  const area = (k) => {
    const [a, b, c] = [points.at(k - 1), points[k], points[(k + 1) % points.length]];
    return Math.abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]));
  };
  const areas = points.map((_, k) => area(k));
  const room = boxArea(points);
  while (points.length > 3) {
    const least = areas.indexOf(Math.min(...areas));
    if (points.length <= MOST_VERTICES && areas[least] > NEGLIGIBLE * room) break;
    points.splice(least, 1);
    areas.splice(least, 1);
    for (const k of [(least - 1 + points.length) % points.length, least % points.length]) areas[k] = area(k);
  }
  return points.flat().map((value) => Math.round(value * OUTLINE_UNITS) / OUTLINE_UNITS);
}

function boxArea(points) {
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  return (Math.max(...xs) - Math.min(...xs)) * (Math.max(...ys) - Math.min(...ys));
}

// One after another: an outline that adds sets what lies inside, one that subtracts clears it.
function selectInside(geometry, outlines, selectable) {
  const selected = new Uint8Array(geometry.count);
  for (const { add, panel, vertices } of outlines) {
    const positions = geometry.panels[panel]?.positions;
    if (!positions) continue; // an outline on a backbone that is not compared any more
    const xs = vertices.filter((_, k) => k % 2 === 0);
    const ys = vertices.filter((_, k) => k % 2 === 1);
    const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    for (let i = 0; i < geometry.count; i++) {
      const x = positions[2 * i];
      const y = positions[2 * i + 1];
      if (!selectable[i] || x < left || x > right || y < bottom || y > top) continue;
      if (isInside(xs, ys, x, y)) selected[i] = add ? 1 : 0;
    }
  }
  return selected;
}

// A ray to the right crosses the outline an odd number of times.
function isInside(xs, ys, x, y) {
  let inside = false;
  for (let k = 0, last = xs.length - 1; k < xs.length; last = k++) {
    if (ys[k] > y !== ys[last] > y && x < ((xs[last] - xs[k]) * (y - ys[k])) / (ys[last] - ys[k]) + xs[k]) inside = !inside;
  }
  return inside;
}

// One bit for each point, the first in the lowest bit of the first byte.
function bitsAsText(selected) {
  const bytes = new Uint8Array(Math.ceil(selected.length / 8));
  for (let i = 0; i < selected.length; i++) if (selected[i]) bytes[i >> 3] |= 1 << (i & 7);
  let text = "";
  for (let k = 0; k < bytes.length; k += 8192) text += String.fromCharCode(...bytes.subarray(k, k + 8192));
  return btoa(text);
}
