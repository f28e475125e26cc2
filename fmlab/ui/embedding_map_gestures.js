// What a pointer does on a panel: draws an outline, moves or zooms the view, rests on a point, or clicks on one.

const HOVER_REACH = 9; // CSS pixels
const CLICK = 4; // a gesture shorter than this is a click
const HOVER_REST = 60; // milliseconds

class Gestures {
  constructor(map) {
    this.map = map;
    this.current = null; // { panel, pans, way, start, last, travelled, clicks, vertices } between press and release
    this.held = false; // the space bar: the hand, whatever the tool
  }

  listen(panel) {
    const surface = panel.overlay;
    const place = (event) => {
      const box = surface.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    surface.onpointerdown = (event) => this.press(panel, event, ...place(event));
    surface.onpointermove = (event) => {
      if (this.current?.panel === panel) this.drag(...place(event));
      else if (!this.current) this.hover(panel, ...place(event));
    };
    surface.onpointerup = (event) => this.current?.panel === panel && this.release(...place(event));
    surface.onpointercancel = () => this.drop();
    surface.onpointerleave = () => !this.current && this.leave();
    surface.oncontextmenu = (event) => event.preventDefault();
    surface.ondblclick = () => this.map.tool === "hand" && panel.fit();
    const turn = (event) => {
      event.preventDefault();
      this.leave();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
      panel.zoomBy(Math.exp(-0.002 * Math.max(-120, Math.min(120, pixels))), ...place(event));
    };
    surface.addEventListener("wheel", turn, { passive: false });
  }

  press(panel, event, x, y) {
    if (this.current) return;
    event.preventDefault();
    this.map.root.dataset.pointer = ""; // a person who points needs no ring that says where the keyboard is
    this.map.root.focus({ preventScroll: true });
    panel.overlay.setPointerCapture(event.pointerId);
    const pans = event.button > 0 || this.held || this.map.tool === "hand";
    const way = event.shiftKey ? "add" : event.altKey ? "subtract" : this.map.way;
    this.current = { panel, pans, way, start: [x, y], last: [x, y], travelled: 0, clicks: event.button === 0 && !this.held };
    if (pans) this.leave();
  }

  drag(x, y) {
    const { current } = this;
    const { panel, start, last } = current;
    current.travelled = Math.max(current.travelled, Math.hypot(x - start[0], y - start[1]));
    if (current.pans) {
      current.last = [x, y];
      panel.panBy(x - last[0], y - last[1]);
      return;
    }
    if (current.travelled < CLICK || Math.hypot(x - last[0], y - last[1]) < 2) return;
    this.leave();
    current.last = [x, y];
    const from = panel.toFractions(...start);
    const here = panel.toFractions(x, y);
    if (this.map.tool === "box") current.vertices = [...from, here[0], from[1], ...here, from[0], here[1]];
    else (current.vertices ??= [...from]).push(...here);
    this.map.sketch(panel);
  }

  release(x, y) {
    const { panel, pans, way, travelled, clicks, vertices } = this.current;
    this.current = null;
    if (travelled < CLICK) {
      if (clicks) this.map.pick(this.under(panel, x, y));
    } else if (!pans && vertices?.length >= 6) {
      this.map.outline({ add: way !== "subtract", panel: panel.place, vertices: simplified(vertices) }, way === "new");
    }
    this.map.sketch(panel);
  }

  drop() {
    const panel = this.current?.panel;
    this.current = null;
    if (panel) this.map.sketch(panel);
  }

  under(panel, x, y) {
    const [right, up] = panel.toFractions(x, y);
    const found = nearestPoint(panel.panel, right, up, HOVER_REACH / panel.pixels, this.map.reachable, this.map.inTest);
    return found < 0 ? null : found;
  }

  hover(panel, x, y) {
    const { map } = this;
    const found = this.under(panel, x, y);
    if (found !== map.hovered) {
      map.hovered = found;
      map.sketchAll();
      clearTimeout(this.resting);
      if (found !== null && !map.tooltip.pictures.has(found)) this.resting = setTimeout(() => map.tellHovered(found), HOVER_REST);
    }
    if (found === null) return map.tooltip.hide();
    const room = { width: map.row.clientWidth, height: map.row.clientHeight };
    map.tooltip.show(found, map.factsOf(found), panel.element.offsetLeft + x, y, room);
  }

  leave() {
    clearTimeout(this.resting);
    this.map.tooltip.hide();
    if (this.map.hovered === null) return;
    this.map.hovered = null;
    this.map.sketchAll();
  }
}
