// What is drawn above the points of a panel: outlines, the one being drawn, rings, and lines to the nearest neighbours.
// In: the panel, and of the map its outlines, geometry, colours, and which points are picked, marked and hovered.

function sketch(panel, map) {
  const { pen, ratio, width, height, panel: points } = panel;
  const { text, quiet } = map.view.ink;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  for (const { add, panel: place, vertices } of map.outlines) {
    if (place === panel.place) trace(panel, vertices, add ? quiet : text, add ? [] : [5, 4], 1);
  }
  const drawn = map.gestures.current;
  if (drawn?.panel === panel && drawn.vertices) trace(panel, drawn.vertices, text, [4, 3], 1.5);

  const there = (i) => Number.isInteger(i) && i < map.geometry.count && points.positions[2 * i] !== NOWHERE;
  const at = (i) => panel.toPixels(points.positions[2 * i], points.positions[2 * i + 1]);
  const marked = map.view.marked.filter(there);
  if (there(map.picked)) {
    pen.globalAlpha = 0.6;
    for (const i of marked) line(pen, at(map.picked), at(i), text);
    pen.globalAlpha = 1;
  }
  const ring = (i, radius, thickness) => {
    const [x, y] = at(i);
    if (!map.visible[i]) disc(pen, x, y, map.colours.subarray(4 * i, 4 * i + 3)); // in the density no point is drawn
    circle(pen, x, y, radius, map.view.ink.surface, thickness + 2.5);
    circle(pen, x, y, radius, text, thickness);
  };
  for (const i of marked) ring(i, 7, 1.5);
  if (there(map.picked)) for (const [radius, thickness] of [[8, 2], [12.5, 1.2]]) ring(map.picked, radius, thickness);
  if (there(map.hovered)) ring(map.hovered, 9, 2);
}

function trace(panel, vertices, colour, dashes, thickness) {
  const { pen } = panel;
  pen.beginPath();
  for (let k = 0; k < vertices.length; k += 2) pen.lineTo(...panel.toPixels(vertices[k], vertices[k + 1]));
  pen.closePath();
  pen.setLineDash(dashes);
  pen.strokeStyle = colour;
  pen.lineWidth = thickness;
  pen.stroke();
  pen.setLineDash([]);
  pen.globalAlpha = 0.06;
  pen.fillStyle = colour;
  pen.fill();
  pen.globalAlpha = 1;
}

function line(pen, from, to, colour) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.stroke();
}

function circle(pen, x, y, radius, colour, thickness) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.strokeStyle = colour;
  pen.lineWidth = thickness;
  pen.stroke();
}

function disc(pen, x, y, rgb) {
  pen.beginPath();
  pen.arc(x, y, 4, 0, 2 * Math.PI);
  pen.fillStyle = `rgb(${rgb.join(" ")})`;
  pen.fill();
}
