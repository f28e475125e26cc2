// The confusion matrix: one button for each cell in view. Every name is set as text, whatever it holds.

const SPARE = 4; // cells drawn beyond each edge of the view
const HEAD_CHARACTER = 7.5; // pixels of a character of a head
const LONGEST_HEAD = 220; // pixels; longer names are cut, and whole in the line below

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const state = stateOf(parentElement);
  state.open = (row, column) => setTriggerValue("opened", [row, column]);
  const text = JSON.stringify(data);
  if (text === state.text) return; // the same matrix: scroll position and focus stay
  state.text = text;
  state.data = data;
  state.counts = countsOf(data);
  state.active = [0, 0];
  writeAbove(state);
  state.scroll.scrollTo(0, 0);
  layOut(state);
}

/** The elements of this matrix and what they show, made once. */
function stateOf(parentElement) {
  const present = parentElement.querySelector(".matrix");
  if (present) return present.state;
  const matrix = element("div", "matrix");
  const above = element("div", "above", matrix);
  const scroll = element("div", "scroll", matrix);
  const sheet = element("div", "sheet", scroll);
  const state = {
    title: element("div", "title", above),
    scale: element("div", "scale", above),
    remarks: element("div", "remarks", above),
    scroll,
    sheet,
    corner: element("div", "corner", sheet),
    columnHeads: element("div", "column-heads", sheet),
    rowHeads: element("div", "row-heads", sheet),
    cells: element("div", "cells", sheet),
    below: element("div", "below", matrix),
    drawn: new Map(), // "kind row column" → element
    width: 0,
  };
  matrix.state = state;
  state.cells.setAttribute("role", "grid");
  scroll.addEventListener("scroll", () => requestAnimationFrame(() => draw(state)));
  state.cells.addEventListener("keydown", (event) => move(state, event));
  state.cells.addEventListener("mouseleave", () => describe(state, null));
  new ResizeObserver(() => {
    if (Math.abs(scroll.clientWidth - state.width) > 1) layOut(state);
  }).observe(scroll);
  parentElement.appendChild(matrix);
  return state;
}

function element(tag, className, parent) {
  const made = document.createElement(tag);
  made.className = className;
  if (parent) parent.appendChild(made);
  return made;
}

/** Counts by place, from the flat list of row, column, count. */
function countsOf(data) {
  const counts = new Map();
  for (let at = 0; at < data.cells.length; at += 3) {
    counts.set(data.cells[at] * data.classes.length + data.cells[at + 1], data.cells[at + 2]);
  }
  return counts;
}

function writeAbove(state) {
  const { data } = state;
  state.title.textContent = data.title;
  state.remarks.textContent = data.remarks.join(" · ");
  state.remarks.style.color = data.ink.warning;
  const bar = element("span", "shades");
  bar.style.background = `linear-gradient(to right, ${data.shades.map(([at, colour]) => `${colour} ${100 * at}%`).join(", ")})`;
  state.scale.replaceChildren("0", bar, "100 % of the row");
  state.cells.setAttribute("aria-label", `confusion matrix, rows truth, columns answer, in ${data.unit}`);
  state.cells.setAttribute("aria-rowcount", data.classes.length);
  state.cells.setAttribute("aria-colcount", data.classes.length);
}

/** Sizes of cells and heads for the width there is, and everything drawn anew. */
function layOut(state) {
  const { data, scroll } = state;
  if (!data || !scroll.clientWidth) return;
  state.width = scroll.clientWidth;
  const count = data.classes.length;
  const longest = Math.max(...data.classes.map((name) => name.length));
  const support = Math.max(...data.support).toLocaleString("en").length + 4;
  const rowHead = Math.min(LONGEST_HEAD, (longest + support) * HEAD_CHARACTER + 24, state.width / 3);
  const room = Math.floor((state.width - rowHead - 2) / count);
  const cell = data.both ? Math.min(120, Math.max(60, room)) : Math.min(44, Math.max(30, room));
  const upright = longest * HEAD_CHARACTER + 8 > cell;
  const columnHead = upright ? Math.min(150, longest * HEAD_CHARACTER + 24) : 28;
  Object.assign(state, { cell, row: data.both ? 44 : 28, upright, columnHead });
  state.sheet.style.gridTemplateColumns = `${rowHead}px ${cell * count}px`;
  state.sheet.style.gridTemplateRows = `${columnHead}px ${state.row * count}px`;
  state.corner.textContent = "truth ↓  answer →";
  for (const each of [state.columnHeads, state.rowHeads, state.cells]) each.replaceChildren();
  state.drawn.clear();
  describe(state, null);
  draw(state);
}

/** Draw what is in view and forget what has left it. */
function draw(state) {
  const { data, scroll, cell, row } = state;
  if (!data || !cell) return;
  const last = data.classes.length - 1;
  const top = Math.max(0, Math.floor(scroll.scrollTop / row) - SPARE);
  const bottom = Math.min(last, Math.ceil((scroll.scrollTop + scroll.clientHeight) / row) + SPARE);
  const left = Math.max(0, Math.floor(scroll.scrollLeft / cell) - SPARE);
  const right = Math.min(last, Math.ceil((scroll.scrollLeft + scroll.clientWidth) / cell) + SPARE);
  const wanted = new Set();
  const want = (key, make) => {
    wanted.add(key);
    if (!state.drawn.has(key)) state.drawn.set(key, make());
  };
  for (let y = top; y <= bottom; y++) {
    want(`row ${y}`, () => rowHead(state, y));
    for (let x = left; x <= right; x++) want(`cell ${y} ${x}`, () => drawnCell(state, y, x));
  }
  for (let x = left; x <= right; x++) want(`column ${x}`, () => columnHead(state, x));
  if (!wanted.has(`cell ${state.active.join(" ")}`) && !state.cells.contains(state.cells.getRootNode().activeElement)) {
    state.active = [top, left]; // so that the Tab key always finds a cell
    state.drawn.get(`cell ${top} ${left}`).tabIndex = 0;
  }
  for (const [key, made] of state.drawn) {
    const focused = made === made.getRootNode().activeElement; // the keyboard's cell stays, wherever one scrolls
    if (!wanted.has(key) && !focused) {
      made.remove();
      state.drawn.delete(key);
    }
  }
}

function rowHead(state, y) {
  const { data, row } = state;
  const head = element("div", "head", state.rowHeads);
  head.style.cssText = `top:${y * row}px;height:${row}px;line-height:${row}px`;
  head.textContent = data.classes[y];
  head.title = data.classes[y];
  element("span", "support", head).textContent = data.support[y] ? `n = ${data.support[y].toLocaleString("en")}` : "none";
  return head;
}

function columnHead(state, x) {
  const { data, cell, upright, columnHead: height } = state;
  const head = element("div", upright ? "head upright" : "head", state.columnHeads);
  head.style.cssText = `left:${x * cell}px;width:${cell}px;` + (upright ? `height:${height - 6}px;line-height:${cell}px` : "");
  head.textContent = data.classes[x];
  head.title = data.classes[x];
  return head;
}

function drawnCell(state, y, x) {
  const { data, cell, row } = state;
  const count = countAt(state, y, x);
  const share = data.support[y] ? count / data.support[y] : NaN;
  const button = element("button", "cell", state.cells);
  button.type = "button";
  button.classList.toggle("right", x === y && data.support[y] > 0);
  button.classList.toggle("filled", count > 0);
  button.classList.toggle("small", !data.both);
  button.style.cssText = `left:${x * cell + 1}px;top:${y * row + 1}px;width:${cell - 2}px;height:${row - 2}px;`;
  button.style.background = Number.isNaN(share) ? "transparent" : shade(data.shades, share);
  button.style.color = share >= data.turn ? data.ink.inverse : data.ink.text;
  button.tabIndex = y === state.active[0] && x === state.active[1] ? 0 : -1;
  button.setAttribute("role", "gridcell");
  button.setAttribute("aria-rowindex", y + 1);
  button.setAttribute("aria-colindex", x + 1);
  button.setAttribute("aria-label", words(state, y, x));
  button.setAttribute("aria-disabled", String(count === 0));
  if (count && data.both) {
    element("span", "count", button).textContent = count.toLocaleString("en");
    element("span", "share", button).textContent = `${(100 * share).toFixed(1)} %`;
  } else if (count) {
    button.textContent = (100 * share).toFixed(0);
  }
  button.onmouseenter = () => describe(state, [y, x]);
  button.onfocus = () => activate(state, y, x);
  button.onclick = () => count && state.open(y, x);
  return button;
}

function countAt(state, y, x) {
  return state.counts.get(y * state.data.classes.length + x) ?? 0;
}

/** A colour between the stops, at a share 0–1. */
function shade(stops, share) {
  const after = Math.max(1, stops.findIndex(([at]) => at >= share));
  const [[low, from], [high, to]] = [stops[after - 1], stops[after]];
  const part = (share - low) / (high - low);
  const mixed = [1, 3, 5].map((start) => {
    const [one, other] = [from, to].map((colour) => parseInt(colour.slice(start, start + 2), 16));
    return Math.round(one + part * (other - one));
  });
  return `rgb(${mixed.join(",")})`;
}

function words(state, y, x) {
  const { data } = state;
  const count = countAt(state, y, x);
  const unit = count === 1 ? data.unit.replace(/s$/, "") : data.unit;
  const share = data.support[y] ? `, ${((100 * count) / data.support[y]).toFixed(1)} % of the row` : "";
  return `truth ${data.classes[y]}, answered ${data.classes[x]}: ${count.toLocaleString("en")} ${unit}${share}`;
}

/** The line below, and the heads of the cell that is pointed at. */
function describe(state, place) {
  for (const key of state.pointed ?? []) state.drawn.get(key)?.classList.remove("pointed");
  state.pointed = place ? [`row ${place[0]}`, `column ${place[1]}`] : [];
  for (const key of state.pointed) state.drawn.get(key)?.classList.add("pointed");
  state.below.textContent = place
    ? words(state, ...place)
    : `Framed: right answers. A click or Enter opens the ${state.data.unit} of a cell; Shift and an arrow go to the next that has any.`;
}

function activate(state, y, x) {
  state.drawn.get(`cell ${state.active.join(" ")}`)?.setAttribute("tabindex", "-1");
  state.active = [y, x];
  state.drawn.get(`cell ${y} ${x}`)?.setAttribute("tabindex", "0");
  describe(state, state.active);
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** Arrows, with Shift to the next cell that has a count; Home and End within the row. */
function move(state, event) {
  const last = state.data.classes.length - 1;
  const inside = ([y, x]) => y >= 0 && x >= 0 && y <= last && x <= last;
  let [y, x] = state.active;
  const step = STEPS[event.key];
  if (step) {
    const next = () => [y + step[0], x + step[1]];
    if (!inside(next())) return;
    do [y, x] = next();
    while (event.shiftKey && !countAt(state, y, x) && inside(next()));
  } else if (event.key === "Home") x = 0;
  else if (event.key === "End") x = last;
  else return;
  event.preventDefault();
  event.stopPropagation();
  show(state, y, x);
}

/** Scroll a cell fully into view, draw it, and give it the focus. */
function show(state, y, x) {
  const { scroll, cell, row, columnHead: head } = state;
  const side = state.corner.offsetWidth;
  const within = (at, size, from, room) => Math.min(at, Math.max(from, at + size - room));
  scroll.scrollTop = within(y * row, row, scroll.scrollTop, scroll.clientHeight - head);
  scroll.scrollLeft = within(x * cell, cell, scroll.scrollLeft, scroll.clientWidth - side);
  draw(state);
  state.drawn.get(`cell ${y} ${x}`)?.focus({ preventScroll: true });
}
