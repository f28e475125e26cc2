// One panel: its camera, its points and its density in WebGL, and above them a canvas for outlines and rings.

const VERTEX = `#version 300 es
  in vec2 position; in vec4 colour; in float shape;
  uniform vec2 centre, scale; uniform float size;
  out vec4 paint; flat out int form; out float radius;
  void main() {
    gl_Position = vec4((position - centre) * scale, 0.0, 1.0);
    form = int(shape + 0.5);
    float drawn = form == 0 ? size : size * (form == 1 ? 1.0 : 1.22);
    gl_PointSize = drawn;
    radius = drawn * 0.5;
    paint = colour;
  }`;
// Shapes: 0 and 1 circle, 2 triangle, 3 square, 4 diamond, 5 cross, 6 triangle downwards. `inside` is in pixels.
const FRAGMENT = `#version 300 es
  precision mediump float;
  in vec4 paint; flat in int form; in float radius;
  uniform vec3 rim; uniform float opacity, rimWidth;
  out vec4 result;
  void main() {
    vec2 p = (gl_PointCoord * 2.0 - 1.0);
    vec2 q = abs(p);
    float distance = form <= 1 ? length(p)
      : form == 2 ? max(q.x * 0.866 + p.y * -0.5 + 0.12, p.y + 0.12) * 1.12
      : form == 3 ? max(q.x, q.y) * 1.22
      : form == 4 ? (q.x + q.y)
      : form == 5 ? max(max(q.x, q.y), min(q.x, q.y) * 2.6)
      : max(q.x * 0.866 + p.y * 0.5 + 0.12, -p.y + 0.12) * 1.12;
    float inside = (1.0 - distance) * radius;
    float cover = clamp(inside + 0.35, 0.0, 1.0) * opacity * paint.a;
    if (cover < 0.004) discard;
    float edge = form == 0 ? 0.0 : clamp(rimWidth + 0.35 - inside, 0.0, 1.0) * 0.8;
    result = vec4(mix(paint.rgb, rim, edge) * cover, cover);
  }`;
const CLOUD_VERTEX = `#version 300 es
  in vec2 corner; uniform vec2 centre, scale; uniform float margin; out vec2 at;
  void main() {
    at = corner;
    gl_Position = vec4((corner * (1.0 + 2.0 * margin) - margin - centre) * scale, 0.0, 1.0);
  }`;
const CLOUD_FRAGMENT = `#version 300 es
  precision mediump float;
  in vec2 at; uniform sampler2D cloud; uniform float opacity; out vec4 result;
  void main() { result = texture(cloud, at) * opacity; }`;

const FURTHEST = [0.4, 80]; // zoom
const SLOW_FRAME = 30; // milliseconds: above, fewer points are drawn while the view moves
const FAST_FRAME = 19;
const REST = 220; // milliseconds without a movement
const REST_OF_NEWS = 400; // thumbnails of a selection come before the last of its points

class PointPanel {
  constructor(panel, place, onMoved) {
    this.panel = panel;
    this.place = place;
    this.onMoved = onMoved;
    this.element = document.createElement("div");
    this.element.className = "panel";
    this.canvas = document.createElement("canvas");
    this.overlay = document.createElement("canvas");
    this.overlay.className = "overlay";
    this.title = document.createElement("div");
    this.title.className = "panel-title";
    this.title.textContent = panel.title;
    this.element.append(this.canvas, this.overlay, this.title);
    this.pen = this.overlay.getContext("2d");
    this.camera = { x: panel.width / 2, y: panel.height / 2, zoom: 1 };
    this.most = 15000; // points drawn while the view moves
    this.given = {};
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => {
      this.prepare();
      this.give(this.given);
    });
    this.prepare();
  }

  prepare() {
    const options = { antialias: false, premultipliedAlpha: true, depth: false, stencil: false };
    const gl = (this.gl = this.canvas.getContext("webgl2", options));
    if (!gl) return;
    this.points = program(gl, VERTEX, FRAGMENT, ["position", "colour", "shape"]);
    this.cloud = program(gl, CLOUD_VERTEX, CLOUD_FRAGMENT, ["corner"]);
    this.buffers = {};
    for (const name of ["position", "colour", "shape", "order", "corner"]) this.buffers[name] = gl.createBuffer();
    this.texture = gl.createTexture();
    fill(gl, gl.ARRAY_BUFFER, this.buffers.position, this.panel.positions);
    fill(gl, gl.ARRAY_BUFFER, this.buffers.corner, new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]));
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  // `given`: any of colours (N×4 bytes), shapes (N bytes), order (indices), cloud ({ side, pixels } or null), style.
  give(given) {
    Object.assign(this.given, given);
    const gl = this.gl;
    if (!gl || gl.isContextLost()) return;
    if (given.colours) fill(gl, gl.ARRAY_BUFFER, this.buffers.colour, given.colours);
    if (given.shapes) fill(gl, gl.ARRAY_BUFFER, this.buffers.shape, given.shapes);
    if (given.order) fill(gl, gl.ELEMENT_ARRAY_BUFFER, this.buffers.order, given.order);
    if (given.cloud) {
      const { side, pixels } = given.cloud;
      gl.bindTexture(gl.TEXTURE_2D, this.texture);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, side, side, 0, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
      for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.LINEAR);
      for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    }
    this.hurry(REST_OF_NEWS);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (!width || !height || (this.width === width && this.height === height && this.ratio === ratio)) return;
    Object.assign(this, { width, height, ratio });
    for (const canvas of [this.canvas, this.overlay]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    this.draw();
  }

  // CSS pixels of one extent, at this zoom.
  get pixels() {
    const room = Math.min(this.width / Math.max(this.panel.width, 0.05), this.height / Math.max(this.panel.height, 0.05));
    return room * 0.9 * this.camera.zoom;
  }

  toPixels(x, y) {
    return [(x - this.camera.x) * this.pixels + this.width / 2, (this.camera.y - y) * this.pixels + this.height / 2];
  }

  toFractions(x, y) {
    return [(x - this.width / 2) / this.pixels + this.camera.x, this.camera.y - (y - this.height / 2) / this.pixels];
  }

  zoomBy(factor, x = this.width / 2, y = this.height / 2) {
    const [held, heldUp] = this.toFractions(x, y);
    this.camera.zoom = Math.max(FURTHEST[0], Math.min(FURTHEST[1], this.camera.zoom * factor));
    const [moved, movedUp] = this.toFractions(x, y);
    this.camera.x += held - moved;
    this.camera.y += heldUp - movedUp;
    this.move();
  }

  panBy(x, y) {
    this.camera.x = Math.max(-0.5, Math.min(1.5, this.camera.x - x / this.pixels));
    this.camera.y = Math.max(-0.5, Math.min(1.5, this.camera.y + y / this.pixels));
    this.move();
  }

  fit() {
    this.camera = { x: this.panel.width / 2, y: this.panel.height / 2, zoom: 1 };
    this.move();
  }

  // While the view moves fewer points are drawn, as few as the machine needs to keep up; all of them once it rests.
  // Without a graphics card a point costs about a microsecond: all 100,000 would take an eighth of a second.
  move() {
    this.travels = true;
    this.hurry(REST);
    this.onMoved();
  }

  hurry(rest) {
    this.moving = true;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      this.moving = this.travels = false;
      this.lastFrame = undefined;
      this.redraw();
    }, rest);
    this.redraw();
  }

  redraw() {
    this.asked ??= requestAnimationFrame((now) => {
      this.asked = undefined;
      if (this.travels && this.lastFrame !== undefined) this.adapt(now - this.lastFrame);
      this.lastFrame = this.travels ? now : undefined;
      this.draw();
    });
  }

  adapt(took) {
    if (took > 4 * SLOW_FRAME) return; // a pause of the hand, not a slow frame
    if (took > SLOW_FRAME) this.most = Math.max(2000, this.most * Math.max(0.5, (0.75 * SLOW_FRAME) / took));
    else if (took < FAST_FRAME) this.most = Math.min(200000, this.most * 1.07);
  }

  draw() {
    const { gl, camera, given } = this;
    if (!gl || gl.isContextLost() || !this.width || !given.order) return;
    const total = given.style.layers.reduce((sum, layer) => sum + layer.count, 0);
    const share = this.moving ? Math.min(1, this.most / Math.max(total, 1)) : 1;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const scale = [(2 * this.pixels) / this.width, (2 * this.pixels) / this.height];
    if (given.cloud) {
      const { id, at, set } = this.cloud;
      gl.useProgram(id);
      attribute(gl, this.buffers.corner, at.corner, 2, gl.FLOAT);
      gl.uniform2f(set.centre, camera.x, camera.y);
      gl.uniform2f(set.scale, ...scale);
      gl.uniform1f(set.margin, MARGIN);
      gl.uniform1f(set.opacity, given.style.cloud);
      gl.bindTexture(gl.TEXTURE_2D, this.texture);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
    const { id, at, set } = this.points;
    gl.useProgram(id);
    attribute(gl, this.buffers.position, at.position, 2, gl.FLOAT);
    attribute(gl, this.buffers.colour, at.colour, 4, gl.UNSIGNED_BYTE, true);
    attribute(gl, this.buffers.shape, at.shape, 1, gl.UNSIGNED_BYTE);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.order);
    gl.uniform2f(set.centre, camera.x, camera.y);
    gl.uniform2f(set.scale, ...scale);
    gl.uniform3f(set.rim, ...given.style.rim);
    const grown = Math.max(0.8, Math.min(1.9, camera.zoom ** 0.3)) * this.ratio;
    for (const { from, count, size, opacity } of given.style.layers) {
      const drawn = Math.ceil(count * share);
      if (!drawn) continue;
      gl.uniform1f(set.size, size * grown);
      gl.uniform1f(set.opacity, opacity);
      gl.uniform1f(set.rimWidth, size >= 6 ? 0.9 * this.ratio : 0.6);
      gl.drawElements(gl.POINTS, drawn, gl.UNSIGNED_INT, 4 * (from + count - drawn));
    }
  }

  remove() {
    clearTimeout(this.resting);
    cancelAnimationFrame(this.asked);
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext(); // browsers keep sixteen and drop the oldest
    this.element.remove();
  }
}

function program(gl, vertex, fragment, names) {
  const id = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(id, shader);
  }
  gl.linkProgram(id);
  if (!gl.getProgramParameter(id, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(id) ?? "no shader");
  const uniforms = Array.from({ length: gl.getProgramParameter(id, gl.ACTIVE_UNIFORMS) }, (_, k) => gl.getActiveUniform(id, k).name);
  return {
    id,
    at: Object.fromEntries(names.map((name) => [name, gl.getAttribLocation(id, name)])),
    set: Object.fromEntries(uniforms.map((name) => [name, gl.getUniformLocation(id, name)])),
  };
}

function fill(gl, kind, buffer, values) {
  gl.bindBuffer(kind, buffer);
  gl.bufferData(kind, values, gl.STATIC_DRAW);
}

function attribute(gl, buffer, place, size, type, normalised = false) {
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.enableVertexAttribArray(place);
  gl.vertexAttribPointer(place, size, type, normalised, 0, 0);
}
