// The map: what a person does with the panels, and what of it the page is told.
// In: the view (see `MapView`), the geometry from `window.fmlabGeometries`. Out: selected, hovered, picked.

const MOST_OUTLINES = 24; // as many as a link holds
const NOTHING = new Uint8Array(0);

class EmbeddingMap {
  constructor(parent) {
    this.panels = [];
    this.hidden = new Set();
    this.outlines = [];
    this.before = []; // the outlines as they were before each change
    this.selected = NOTHING;
    this.hovered = null;
    this.tool = "lasso";
    this.way = "new";
    this.seen = {}; // what the page said last, and
    this.told = {}; // what it was told since: its echo is no news
    this.root = make("div", "map");
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "application");
    this.root.setAttribute("aria-label", "Map of the images. L lasso, B box, H hand, U undo, plus and minus zoom, arrows move, 0 shows everything, Escape clears the selection.");
    this.bar = toolBar({
      tool: (name) => this.use(name),
      way: (name) => this.go(name),
      clear: () => this.clear(),
      undo: () => this.undo(),
      zoom: (factor) => this.panels.forEach((panel) => panel.zoomBy(factor)),
      fit: () => this.panels.forEach((panel) => panel.fit()),
      background: () => this.setBackground(this.background === "points" ? "density" : "points"),
    });
    this.legend = new Legend({
      toggle: (_, name) => this.toggle(name),
      only: (section, name) => this.only(section, name),
      highlight: (section, code) => this.highlight(section, code),
    });
    this.tooltip = new Tooltip();
    this.row = make("div", "panels");
    this.notice = make("div", "notice");
    const body = make("div", "body");
    body.append(this.row, this.legend.element);
    this.root.append(this.bar.element, body, this.notice);
    parent.appendChild(this.root);
    this.gestures = new Gestures(this);
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    this.root.addEventListener("focusout", () => this.gestures.held && this.hold(false));
    this.root.addEventListener("keyup", (event) => event.code === "Space" && this.hold(false));
    this.observer = new ResizeObserver(() => this.panels.forEach((panel) => {
      panel.resize();
      this.sketch(panel);
    }));
    this.look = () => this.begin();
  }

  // ---- what the page says ----

  update(view, send) {
    this.view = view;
    this.send = send;
    this.root.style.height = `${view.height}px`;
    this.root.dataset.mode = view.mode;
    if (view.hover) this.tooltip.keep(view.hover);
    this.begin();
  }

  begin() {
    const registry = (window.fmlabGeometries ??= { blobs: new Map(), waiting: new Set() });
    const bytes = registry.blobs.get(this.view.geometry);
    if (this.geometry?.digest !== this.view.geometry) {
      if (!bytes) {
        registry.waiting.add(this.look);
        this.say("Loading the points …");
        return;
      }
      registry.waiting.delete(this.look);
      this.geometry = decodeGeometry(bytes);
      this.tooltip.pictures.clear();
      this.tooltip.hide();
      Object.assign(this, { seen: {}, told: {}, before: [], toldLast: "", shownPanels: "", drawnWith: "", hovered: null });
    }
    this.adopt();
    this.arrange();
    this.paint();
    this.reach();
    this.sketchAll();
    if (this.toldLast || this.outlines.length) this.tell(true);
  }

  // What the address says is taken over when the page changes it, not when it repeats what it was told from here.
  adopt() {
    const { view, seen, told } = this;
    const news = (name, value) => {
      const text = JSON.stringify(value ?? null);
      const known = text === seen[name];
      seen[name] = text;
      if (known) return false;
      const echo = (told[name] ?? []).indexOf(text);
      if (echo >= 0) told[name].splice(0, echo + 1);
      return echo < 0;
    };
    if (news("hidden", [...view.hidden].sort())) this.hidden = new Set(view.hidden);
    if (news("background", view.background)) this.background = view.background;
    if (news("selection", view.selection)) this.outlines = outlinesFromText(view.selection);
    if (news("picked", view.picked)) this.picked = view.picked;
  }

  arrange() {
    const wanted = JSON.stringify([this.geometry.digest, this.view.panels]);
    if (wanted === this.shownPanels) return;
    this.shownPanels = wanted;
    this.panels.forEach((panel) => panel.remove());
    this.panels = this.view.panels.map((place) => new PointPanel(this.geometry.panels[place], place, () => this.sketchAll()));
    this.row.replaceChildren(...this.panels.map((panel) => panel.element), this.tooltip.element);
    this.row.classList.toggle("titled", this.panels.length > 1);
    this.panels.forEach((panel) => {
      this.gestures.listen(panel);
      this.observer.observe(panel.element);
      panel.resize();
    });
    this.drawnWith = "";
    this.say(this.panels.every((panel) => panel.gl) ? "" : "This browser cannot draw the map: WebGL 2 is switched off or missing.");
  }

  say(words) {
    this.notice.textContent = words;
    this.notice.hidden = !words;
  }

  // ---- what is drawn ----

  // Colours, shapes and the legend, where the column, the mode or the geometry is another one; then everything else.
  paint() {
    const { view, geometry } = this;
    const wanted = JSON.stringify([view.colour, view.shape, view.mode, this.shownPanels]);
    if (wanted !== this.drawnWith) {
      this.drawnWith = wanted;
      this.colourColumn = geometry.columns.get(view.colour);
      this.shapeColumn = view.shape ? geometry.columns.get(view.shape) : null;
      this.colours = coloursOf(this.colourColumn, view, geometry.count);
      this.inTest = new Uint8Array(geometry.count);
      const shapes = new Uint8Array(geometry.count);
      for (let i = 0; this.shapeColumn && i < geometry.count; i++) {
        shapes[i] = shapeNumber(this.shapeColumn.values[i]);
        this.inTest[i] = Number(shapes[i] > 0);
      }
      // Without any test set there is nothing in front of the training images: each is drawn.
      this.hasTests = this.inTest.includes(1);
      this.hasTraining = this.hasTests && this.inTest.includes(0);
      this.ordered = this.inFront();
      this.panels.forEach((panel) => panel.give({ colours: this.colours, shapes }));
    }
    const shown = JSON.stringify([wanted, [...this.hidden].sort(), this.background]);
    if (shown !== this.refreshedWith) this.refresh(shown);
    else if (textFromOutlines(this.outlines) !== this.selectedWith) this.reselect();
  }

  // The order of drawing: at random, so that no class hides another, but those that matter most above all others.
  inFront() {
    const { order } = this.geometry;
    const { kind, front, categories, values } = this.colourColumn ?? {};
    if (kind !== "category" || !front.length) return order;
    const above = new Set(front.map((name) => categories.indexOf(name)));
    return Uint32Array.from([...order.filter((i) => !above.has(values[i])), ...order.filter((i) => above.has(values[i]))]);
  }

  // After another category is hidden or the training images are drawn otherwise: what can be seen, and so selected.
  refresh(shown = "") {
    const { geometry } = this;
    this.refreshedWith = shown;
    const off = [this.colourColumn, this.shapeColumn].map((column) => hiddenCodes(column, this.hidden));
    this.visible = new Uint8Array(geometry.count);
    this.selectable = new Uint8Array(geometry.count);
    const each = !this.hasTests || this.background === "points";
    const training = new Uint8Array(geometry.count);
    for (let i = 0; i < geometry.count; i++) {
      const seen = !isOff(this.colourColumn, off[0], i) && !isOff(this.shapeColumn, off[1], i);
      this.visible[i] = Number(seen && (each || this.inTest[i]));
      this.selectable[i] = this.visible[i];
      training[i] = Number(seen && this.hasTests && !this.inTest[i]);
    }
    const quiet = rgbOf(this.view.ink.quiet);
    for (const panel of this.panels) {
      panel.give({ cloud: each ? null : densityOf(panel.panel.positions, this.colours, training, quiet) });
    }
    this.legend.show(legendSections(this.colourColumn, this.hasTests ? this.shapeColumn : null, this.view));
    this.reach();
    this.reselect();
  }

  // What the pointer finds: what is drawn, and what is ringed, even where the training images are a density.
  reach() {
    const ringed = JSON.stringify([this.view.marked, this.picked ?? null]);
    if (this.reachedWith === this.selectable && this.ringed === ringed) return;
    Object.assign(this, { reachedWith: this.selectable, ringed, reachable: this.selectable.slice() });
    for (const i of [...this.view.marked, this.picked]) if (Number.isInteger(i)) this.reachable[i] = 1;
  }

  // With `told` the page is told before the points are drawn anew: it fetches thumbnails meanwhile.
  reselect(told = false) {
    this.selectedWith = textFromOutlines(this.outlines);
    this.selected = this.outlines.length ? selectInside(this.geometry, this.outlines, this.selectable) : NOTHING;
    this.selectedCount = this.selected.reduce((sum, one) => sum + one, 0);
    if (told) this.tell();
    this.legend.count(this.hidden, this.outlines.length ? (section, code) => this.selectedOf(section, code) : null);
    this.layer();
    this.showState();
  }

  selectedOf(section, code) {
    if (this.countedFor !== this.selected) {
      this.countedFor = this.selected;
      this.selectedCounts = Object.fromEntries([["colour", this.colourColumn], ["shape", this.shapeColumn]].map(([name, column]) => [name, countsOf(column, this.selected)]));
    }
    return this.selectedCounts[section]?.get(code) ?? 0;
  }

  // Four layers of indices: training and test images that are faded or plain, then both again for those that stand out.
  layer() {
    const { view, highlighted } = this;
    const column = highlighted && (highlighted.section === "colour" ? this.colourColumn : this.shapeColumn);
    const stands = column ? (i) => column.values[i] === highlighted.code : this.outlines.length ? (i) => this.selected[i] : null;
    const parts = [[], [], [], []];
    for (const i of this.ordered) if (this.visible[i]) parts[this.inTest[i] + (stands?.(i) ? 2 : 0)].push(i);
    const order = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
    const { count } = this.geometry;
    const small = sizeFor(count) * (this.hasTests ? 0.75 : 1);
    const large = sizeFor(parts[1].length + parts[3].length) + 1;
    const looks = [
      [small, stands ? 0.12 : this.hasTests ? 0.55 : 0.8],
      [large, stands ? 0.16 : 0.92],
      [small + 0.5, 0.95],
      [large + 0.5, 1],
    ];
    let from = 0;
    const layers = parts.map((part, k) => {
      order.set(part, from);
      from += part.length;
      return { from: from - part.length, count: part.length, size: looks[k][0], opacity: looks[k][1] };
    });
    const style = { layers, cloud: stands ? 0.6 : 1, rim: rgbOf(view.ink.surface).map((value) => value / 255) };
    this.panels.forEach((panel) => panel.give({ order, style }));
    this.sketchAll();
  }

  showState() {
    const training = this.hasTraining && this.background === "density";
    this.bar.show({
      tool: this.tool,
      way: this.way,
      background: this.background,
      hasTraining: this.hasTraining,
      selected: this.selectedCount,
      total: this.geometry.count,
      undoable: this.before.length > 0,
      words: this.outlines.length && !this.selectedCount ? (training ? "No test image lies inside" : "Nothing lies inside") : "",
    });
    this.row.dataset.tool = this.gestures.held ? "hand" : this.tool;
  }

  sketchAll() {
    this.panels.forEach((panel) => this.sketch(panel));
  }

  sketch(panel) {
    if (panel.width) sketch(panel, this);
  }

  // ---- what a person does ----

  factsOf(i) {
    const columns = [...new Set([this.colourColumn, this.shapeColumn, ...this.geometry.columns.values()])].filter(Boolean).slice(0, 5);
    return columns.map((column) => `${column.title}: ${valueInWords(column, i)}`);
  }

  outline(outline, alone) {
    this.change([...(alone ? [] : this.outlines), outline].slice(-MOST_OUTLINES));
  }

  change(outlines) {
    this.before = [...this.before, this.outlines].slice(-50);
    this.outlines = outlines;
    this.reselect(true);
  }

  undo() {
    if (!this.before.length) return;
    this.outlines = this.before.pop();
    this.reselect(true);
  }

  tellHovered(position) {
    this.send("hovered", { geometry: this.geometry.digest, position });
  }

  pick(position) {
    if (position === (this.picked ?? null)) return;
    this.picked = position;
    this.sketchAll();
    this.remember("picked", position);
    this.send("picked", { geometry: this.geometry.digest, position });
  }

  use(tool) {
    this.tool = tool;
    this.showState();
  }

  go(way) {
    this.way = way;
    this.showState();
  }

  hold(held) {
    this.gestures.held = held;
    this.showState();
  }

  clear() {
    this.gestures.drop();
    this.pick(null);
    if (this.outlines.length) this.change([]);
  }

  setBackground(background) {
    this.background = background;
    this.refresh();
    this.tell();
  }

  toggle(name) {
    if (!this.hidden.delete(name)) this.hidden.add(name);
    this.refresh();
    this.tell();
  }

  // A double click comes after a single one that has hidden or shown the category already.
  only(section, name) {
    const column = section === "colour" ? this.colourColumn : this.shapeColumn;
    const others = [...column.categories, column.missing].filter((other) => other !== name);
    const alone = others.every((other) => this.hidden.has(other));
    for (const other of others) alone ? this.hidden.delete(other) : this.hidden.add(other);
    this.hidden.delete(name);
    this.refresh();
    this.tell();
  }

  highlight(section, code) {
    this.highlighted = section ? { section, code } : null;
    this.layer();
  }

  onKey(event) {
    delete this.root.dataset.pointer;
    if (event.target !== this.root && event.target.tagName === "INPUT") return;
    if (event.ctrlKey || event.metaKey) return;
    const all = (act) => () => this.panels.forEach(act);
    const acts = {
      l: () => this.use("lasso"),
      b: () => this.use("box"),
      h: () => this.use("hand"),
      u: () => this.undo(),
      "+": all((panel) => panel.zoomBy(1.3)),
      "=": all((panel) => panel.zoomBy(1.3)),
      "-": all((panel) => panel.zoomBy(1 / 1.3)),
      0: all((panel) => panel.fit()),
      ArrowLeft: all((panel) => panel.panBy(60, 0)),
      ArrowRight: all((panel) => panel.panBy(-60, 0)),
      ArrowUp: all((panel) => panel.panBy(0, 60)),
      ArrowDown: all((panel) => panel.panBy(0, -60)),
      Escape: () => (this.gestures.current ? this.gestures.drop() : this.clear()),
    };
    // Space presses a focused button; anywhere else on the map it is the hand.
    if (event.key === " " && event.target === this.root) acts[" "] = () => this.hold(true);
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || !this.geometry) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  // ---- what the page is told ----

  remember(name, value) {
    const told = (this.told[name] ??= []);
    told.push(JSON.stringify(value));
    if (told.length > 50) told.shift();
  }

  // With `news` nothing is sent that the page was told already.
  tell(news = false) {
    const hidden = [...this.hidden].sort();
    const outlines = textFromOutlines(this.outlines);
    const selected = this.selected.length ? this.selected : new Uint8Array(this.geometry.count);
    const message = { geometry: this.geometry.digest, bits: bitsAsText(selected), outlines, hidden, background: this.background };
    const text = JSON.stringify(message);
    if (news && text === this.toldLast) return;
    this.toldLast = text;
    this.remember("hidden", hidden);
    this.remember("background", this.background);
    this.remember("selection", outlines);
    this.send("selected", message);
  }

  remove() {
    window.fmlabGeometries?.waiting.delete(this.look);
    this.observer.disconnect();
    this.gestures.leave();
    this.panels.forEach((panel) => panel.remove());
    this.root.remove();
  }
}

// CSS pixels across a point, when there are so many of them.
function sizeFor(count) {
  return count <= 1000 ? 8 : count <= 4000 ? 7 : count <= 12000 ? 5.5 : count <= 40000 ? 4.5 : 4;
}

const maps = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  let map = maps.get(parentElement);
  if (!map) maps.set(parentElement, (map = new EmbeddingMap(parentElement)));
  map.update(data, setStateValue);
  return () => {
    map.remove();
    maps.delete(parentElement);
  };
}
