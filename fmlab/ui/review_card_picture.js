// The picture of the review card: what the browser holds of each item, and a canvas that shows one frame of one item.
//
// `PictureStore` keeps frames around the item on show, decoded where they may be needed within the next key presses.
// `Picture` draws, zooms, plays. Brightness, contrast and inversion are the browser's own filter on the whole canvas.

const AHEAD = 40; // items whose first picture is fetched before they come
const BEHIND = 3;
const CINES_AHEAD = 2;
const STILLS_AT_ONCE = 20; // so that the first of them arrive soon
const DECODED_AHEAD = 12;
const KEPT_BEHIND = 20; // items behind the one on show that need not be fetched again
const FIRST_PATIENCE = 600; // milliseconds until what was asked for and did not come is asked for again
const FASTEST = 30; // frames a second
const SLOWEST = 5;
const SPEEDS = [0.25, 0.5, 1, 2];
const EARLY = 2; // milliseconds by which a frame may come too soon, or it would miss its turn on the screen
const STALL = 500; // milliseconds after which a clip goes on where it stood
const TINY_SIDE = 64; // pixels: up to here every pixel counts and is shown as a square

class PictureStore {
  constructor(changed) {
    this.changed = changed; // called with an item whose pictures became ready to draw
    this.items = new Map(); // item → as the server sent it
    this.bitmaps = new Map(); // item → array of ImageBitmap, null while one is being decoded
    this.asked = new Map(); // item → {at, patience}
  }

  clear() {
    this.bitmaps.forEach((frames) => frames.forEach((bitmap) => bitmap?.close()));
    this.items.clear();
    this.bitmaps.clear();
    this.asked.clear();
  }

  // A whole cine replaces its first picture, never the other way round.
  take(items) {
    for (const [item, content] of Object.entries(items)) {
      const held = this.items.get(item);
      if (held && held.whole && !content.whole) continue;
      const first = Math.min(Math.max(content.first, 0), Math.max(content.frames.length - 1, 0));
      this.forgetBitmaps(item);
      this.items.set(item, { ...content, first });
      this.asked.delete(item);
      if (!content.frames.length) this.changed(item);
    }
  }

  forgetBitmaps(item) {
    this.bitmaps.get(item)?.forEach((bitmap) => bitmap?.close());
    this.bitmaps.delete(item);
  }

  // Let go of what is far away, and decode what is near. `order` and `position` say what is near.
  settle(order, position) {
    const near = new Set(order.slice(Math.max(position - KEPT_BEHIND, 0), position + AHEAD + KEPT_BEHIND));
    const moving = new Set(order.slice(Math.max(position - 1, 0), position + CINES_AHEAD + 1));
    for (const [item, content] of this.items) {
      if (!near.has(item)) {
        this.items.delete(item);
        this.forgetBitmaps(item);
      } else if (content.whole && content.frames.length > 1 && !moving.has(item)) {
        this.items.set(item, { ...content, frames: [content.frames[content.first]], first: 0, whole: false });
        this.forgetBitmaps(item);
      }
    }
    const soon = order.slice(Math.max(position - 1, 0), position + DECODED_AHEAD + 1);
    for (const item of this.bitmaps.keys()) if (!soon.includes(item)) this.forgetBitmaps(item);
    // The item on show first.
    for (const item of [order[position], ...soon]) if (item !== undefined) this.decode(item);
  }

  async decode(item) {
    const content = this.items.get(item);
    if (!content || this.bitmaps.has(item)) return;
    const frames = content.frames.map(() => null);
    this.bitmaps.set(item, frames);
    // From the frame shown first onwards, so that playing can start before the last one is ready.
    for (let step = 0; step < frames.length; step += 1) {
      const place = (content.first + step) % frames.length;
      const image = new Image();
      image.src = content.frames[place].url;
      try {
        await image.decode();
        const bitmap = await createImageBitmap(image);
        if (this.bitmaps.get(item) !== frames) {
          bitmap.close();
          return;
        }
        frames[place] = bitmap;
      } catch {
        if (this.bitmaps.get(item) !== frames) return;
        this.items.set(item, { ...content, frames: [], problem: "This picture cannot be decoded by the browser." });
        this.changed(item);
        return;
      }
      this.changed(item);
    }
  }

  frame(item, place) {
    return this.bitmaps.get(item)?.[place] ?? null;
  }

  // What to ask the server for, most urgent first. Cines only where a reviewer stays, or keys in haste fetch them all.
  wanted(order, position, stays) {
    const around = [...order.slice(position, position + AHEAD + 1), ...order.slice(Math.max(position - BEHIND, 0), position)];
    const now = performance.now();
    const may = (item) => {
      const asked = this.asked.get(item);
      return !asked || now - asked.at > asked.patience;
    };
    const stills = around.filter((item) => !this.items.has(item) && may(item)).slice(0, STILLS_AT_ONCE);
    const lacking = (item) => this.items.has(item) && !this.items.get(item).whole && !this.items.get(item).problem;
    const here = order[position];
    let cines = stays ? order.slice(position, position + CINES_AHEAD + 1).filter((item) => lacking(item) && may(item)) : [];
    if (cines[0] === here) cines = [here]; // alone, because it is waited for
    return { stills, cines };
  }

  noteAsked(items) {
    const now = performance.now();
    for (const item of items) {
      const patience = this.asked.has(item) ? Math.min(2 * this.asked.get(item).patience, 10000) : FIRST_PATIENCE;
      this.asked.set(item, { at: now, patience });
    }
  }
}

class Picture {
  constructor(canvas, store, tell) {
    this.canvas = canvas;
    this.store = store;
    this.tell = tell; // called after a frame was drawn
    this.context = canvas.getContext("2d");
    this.item = null;
    this.place = 0; // of the frame on show
    this.playing = false;
    this.speed = SPEEDS.indexOf(1);
    this.played = false; // whether the cine of this item has moved
    this.moved = false; // the same since the pictures on show came; until then a cine begins at its first
    this.view = { zoom: 1, x: 0, y: 0, brightness: 1, contrast: 1, inverted: false };
    this.clock = null;
    this.due = 0;
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  content() {
    return this.store.items.get(this.item);
  }

  show(item) {
    this.item = item;
    this.place = this.content()?.first ?? 0;
    this.played = false;
    this.moved = false;
    Object.assign(this.view, { zoom: 1, x: 0, y: 0 });
    this.due = 0;
    return this.draw();
  }

  // The still of the item gave way to its cine, whose frames have other places.
  renumber() {
    if (!this.moved) this.place = this.content()?.first ?? 0;
  }

  fit() {
    const scale = window.devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * scale);
    const height = Math.round(this.canvas.clientHeight * scale);
    if (!width || !height || (this.canvas.width === width && this.canvas.height === height)) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.draw();
  }

  // Where the bitmap lies on the canvas, in canvas pixels.
  box(bitmap) {
    const scale = Math.min(this.canvas.width / bitmap.width, this.canvas.height / bitmap.height) * this.view.zoom;
    const width = bitmap.width * scale;
    const height = bitmap.height * scale;
    // Not farther than its own rim.
    const reachX = Math.max((width - this.canvas.width) / 2, 0);
    const reachY = Math.max((height - this.canvas.height) / 2, 0);
    this.view.x = Math.min(Math.max(this.view.x, -reachX), reachX);
    this.view.y = Math.min(Math.max(this.view.y, -reachY), reachY);
    const left = (this.canvas.width - width) / 2 + this.view.x;
    const top = (this.canvas.height - height) / 2 + this.view.y;
    return [left, top, width, height];
  }

  // Draw the frame on show; false while it is not decoded.
  draw() {
    const bitmap = this.store.frame(this.item, this.place);
    if (!bitmap) return false;
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.context.imageSmoothingEnabled = Math.max(bitmap.width, bitmap.height) > TINY_SIDE;
    this.context.drawImage(bitmap, ...this.box(bitmap));
    this.tell();
    return true;
  }

  blank() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  applyFilter() {
    const { brightness, contrast, inverted } = this.view;
    const plain = brightness === 1 && contrast === 1 && !inverted;
    this.canvas.style.filter = plain ? "" : `invert(${inverted ? 1 : 0}) brightness(${brightness}) contrast(${contrast})`;
    this.tell();
  }

  // As a reading station does it: up is brighter, right is more contrast.
  drag(x, y) {
    this.adjust("brightness", -y / 100);
    this.adjust("contrast", x / 100);
  }

  adjust(name, change) {
    const value = Math.min(Math.max(this.view[name] + change, 0.2), 4);
    this.view[name] = Math.round(100 * value) / 100;
    this.applyFilter();
  }

  invert() {
    this.view.inverted = !this.view.inverted;
    this.applyFilter();
  }

  zoom() {
    this.view.zoom = this.view.zoom >= 3 ? 1 : this.view.zoom + 1;
    this.draw();
  }

  pan(x, y) {
    const scale = window.devicePixelRatio || 1;
    this.view.x += x * scale;
    this.view.y += y * scale;
    this.draw();
  }

  reset() {
    this.view = { zoom: 1, x: 0, y: 0, brightness: 1, contrast: 1, inverted: false };
    this.applyFilter();
    this.draw();
  }

  // Frames a second: one loop of a short clip takes a second, a long one runs at thirty.
  rate() {
    const count = this.content()?.frames.length ?? 1;
    return Math.min(Math.max(count, SLOWEST), FASTEST) * SPEEDS[this.speed];
  }

  faster(by) {
    this.speed = Math.min(Math.max(this.speed + by, 0), SPEEDS.length - 1);
    this.tell();
  }

  go(place) {
    const count = this.content()?.frames.length ?? 0;
    if (!count) return;
    const wanted = ((place % count) + count) % count;
    if (!this.store.frame(this.item, wanted)) return; // not decoded yet: the picture stays
    this.place = wanted;
    this.moved = count > 1;
    this.played = this.played || this.moved;
    this.draw();
  }

  step(by) {
    this.pause();
    this.go(this.place + by);
  }

  pause() {
    this.playing = false;
    cancelAnimationFrame(this.clock);
    this.clock = null;
    this.tell();
  }

  play() {
    if (this.playing) return;
    this.playing = true;
    this.due = 0;
    const tick = (now) => {
      if (!this.playing) return;
      this.clock = requestAnimationFrame(tick);
      if ((this.content()?.frames.length ?? 0) < 2) return;
      const gap = 1000 / this.rate();
      if (!this.due || now - this.due > STALL) this.due = now;
      if (now < this.due - EARLY) return;
      // A busy machine leaves frames out rather than slowing the heart down.
      const late = Math.max(Math.floor((now - this.due) / gap), 0);
      this.due += (late + 1) * gap;
      this.go(this.place + 1 + late);
    };
    this.clock = requestAnimationFrame(tick);
    this.tell();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }
}
