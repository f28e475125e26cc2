// What stands around the panels: the tools above, the legend beside them, the tooltip of a point. All text is textContent.

const SEARCHED = 16; // from so many categories on, the legend can be searched
const ICONS = {
  lasso: "M12 5c-5 0-8 2-8 5s3 5 8 5 8-2 8-5-3-5-8-5zM7 14c-2 1-2 4 0 5s2 2 1 3",
  box: "M5 5h3M11 5h3M17 5h2v2M19 10v3M19 16v3h-2M14 19h-3M8 19H5v-2M5 14v-3M5 8V5",
  hand: "M12 3v18M3 12h18M12 3l-3 3M12 3l3 3M12 21l-3-3M12 21l3-3M3 12l3-3M3 12l3 3M21 12l-3-3M21 12l-3 3",
  nearer: "M12 6v12M6 12h12",
  further: "M6 12h12",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
};

function make(name, className = "", text = "") {
  const element = document.createElement(name);
  element.className = className;
  if (text) element.textContent = text;
  return element;
}

function drawing(paths, filled = false) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", paths);
  path.setAttribute("class", filled ? "filled" : "stroked");
  svg.appendChild(path);
  return svg;
}

function shapeDrawing(shape) {
  const paths = {
    circle: "M12 4a8 8 0 1 0 .01 0z",
    triangle: "M12 3l9 17H3z",
    square: "M5 5h14v14H5z",
    diamond: "M12 2l10 10-10 10L2 12z",
    cross: "M9 3h6v6h6v6h-6v6H9v-6H3V9h6z",
    "triangle-down": "M12 21L3 4h18z",
    cloud: "M12 7a5 5 0 1 0 .01 0z M12 0a12 12 0 1 0 .01 0z",
  };
  const svg = drawing(paths[shape], true);
  svg.classList.toggle("faint", shape === "cloud");
  return svg;
}

// The tools. `actions`: what a press does, by name. Returns how to show which tool and way are on, and what to say.
function toolBar(actions) {
  const bar = make("div", "bar");
  bar.setAttribute("role", "toolbar");
  bar.setAttribute("aria-label", "Tools of the map");
  const buttons = {};
  const button = (name, title, content, press) => {
    const element = (buttons[name] = make("button", "tool"));
    element.type = "button";
    element.title = title;
    element.setAttribute("aria-label", title);
    element.append(content);
    element.onclick = press;
    return element;
  };
  const group = (...members) => {
    const element = make("div", "group");
    element.append(...members);
    return element;
  };
  const tools = [["lasso", "Lasso (L): draw around points"], ["box", "Box (B): drag a rectangle"], ["hand", "Hand (H): move the map; also space, or the right button"]];
  const ways = [["new", "New", "A new outline replaces the selection"], ["add", "Add", "Outlines add to the selection (also: hold Shift)"], ["subtract", "Take away", "Outlines take away from the selection (also: hold Alt)"]];
  const clear = button("clear", "Clear the selection (Esc)", "Clear", actions.clear);
  clear.classList.add("worded");
  const undo = button("undo", "Undo the last outline (U)", "Undo", actions.undo);
  undo.classList.add("worded");
  const background = button("background", "Draw each training image as a point, which can be selected, or all of them as a soft density", "Training as points", actions.background);
  background.classList.add("worded");
  const status = make("div", "status");
  status.setAttribute("role", "status");
  bar.append(
    group(...tools.map(([name, title]) => button(name, title, drawing(ICONS[name]), () => actions.tool(name)))),
    group(...ways.map(([name, words, title]) => {
      const element = button(name, title, words, () => actions.way(name));
      element.classList.add("worded");
      return element;
    })),
    group(undo, clear),
    group(
      button("nearer", "Nearer (+)", drawing(ICONS.nearer), () => actions.zoom(1.5)),
      button("further", "Further (−)", drawing(ICONS.further), () => actions.zoom(1 / 1.5)),
      button("fit", "Everything (0)", drawing(ICONS.fit), actions.fit),
    ),
    group(background),
    status,
  );
  const show = ({ tool, way, background: drawn, hasTraining, selected, total, undoable, words }) => {
    for (const [name] of tools) buttons[name].setAttribute("aria-pressed", String(name === tool));
    for (const [name] of ways) buttons[name].setAttribute("aria-pressed", String(name === way));
    buttons.background.setAttribute("aria-pressed", String(drawn === "points"));
    buttons.background.parentElement.hidden = !hasTraining;
    buttons.undo.disabled = !undoable;
    buttons.clear.disabled = !selected && !words;
    status.textContent = words || (selected ? `${selected.toLocaleString("en")} of ${total.toLocaleString("en")} selected` : `${total.toLocaleString("en")} images`);
    status.classList.toggle("busy", Boolean(words));
  };
  return { element: bar, show };
}

// The legend: for each category its colour or shape, its name, and how many are selected of how many there are.
class Legend {
  constructor(actions) {
    this.actions = actions;
    this.element = make("div", "legend");
    this.sections = new Map();
  }

  // `sections`: [{ name, title, rows: [{ name, colour, shape, code, total }], gradient }]; built anew only when they differ.
  show(sections) {
    const signature = JSON.stringify(sections);
    if (signature === this.signature) return;
    this.signature = signature;
    this.rows = [];
    this.element.replaceChildren(...sections.map((section) => this.section(section)));
  }

  section({ name, title, rows, gradient }) {
    const section = make("section");
    section.appendChild(make("h4", "", title));
    if (gradient) {
      const scale = make("div", "scale");
      scale.style.background = `linear-gradient(to right, ${gradient.colours.join(", ")})`;
      const ends = make("div", "ends");
      ends.append(...gradient.ends.map((value) => make("span", "", value)));
      section.append(scale, ends);
    }
    const list = make("div", "rows");
    if (rows.length >= SEARCHED) {
      const search = make("input", "search");
      search.type = "search";
      search.placeholder = `Search ${rows.length} categories`;
      search.setAttribute("aria-label", `Search ${title}`);
      search.oninput = () => {
        const sought = search.value.trim().toLowerCase();
        for (const each of list.children) each.hidden = !each.title.toLowerCase().includes(sought);
      };
      section.appendChild(search);
    }
    list.append(...rows.map((row) => this.row(name, row)));
    section.appendChild(list);
    return section;
  }

  row(section, { name, colour, shape, code, total }) {
    const row = make("button", "row");
    row.type = "button";
    row.title = `${name}. Click: hide or show. Double click: this one alone, or all again.`;
    const swatch = make("span", "swatch");
    swatch.style.color = colour;
    swatch.appendChild(shapeDrawing(shape));
    const numbers = make("span", "numbers");
    row.append(swatch, make("span", "name", name), numbers);
    row.onclick = (event) => (event.detail === 2 ? this.actions.only(section, name) : event.detail < 2 && this.actions.toggle(section, name));
    row.onpointerenter = () => this.actions.highlight(section, code);
    row.onpointerleave = () => this.actions.highlight(null);
    this.rows.push({ section, name, code, total, row, numbers });
    return row;
  }

  count(hidden, selectedBy) {
    for (const { section, name, code, total, row, numbers } of this.rows ?? []) {
      const off = hidden.has(name);
      row.classList.toggle("off", off);
      row.setAttribute("aria-pressed", String(!off));
      const selected = selectedBy?.(section, code);
      numbers.textContent = selected === undefined ? total.toLocaleString("en") : `${selected.toLocaleString("en")} / ${total.toLocaleString("en")}`;
      row.classList.toggle("some", Boolean(selected));
    }
  }
}

// The tooltip: what the map knows of a point at once, then the picture and the lines that the page sends.
class Tooltip {
  constructor() {
    this.element = make("div", "tooltip");
    this.element.hidden = true;
    this.frame = make("div", "picture");
    this.image = make("img");
    this.image.alt = "";
    this.image.onload = () => {
      this.image.style.imageRendering = this.image.naturalWidth <= 64 ? "pixelated" : "";
    };
    this.frame.appendChild(this.image);
    this.lines = make("div", "lines");
    this.element.append(this.frame, this.lines);
    this.pictures = new Map(); // position → { url, lines }: what was seen once is there at once
  }

  keep({ position, url, lines }) {
    this.pictures.delete(position);
    this.pictures.set(position, { url, lines });
    if (this.pictures.size > 400) this.pictures.delete(this.pictures.keys().next().value);
    if (this.position === position) this.fill(position, lines);
  }

  show(position, facts, x, y, room) {
    if (this.position !== position) this.fill(position, facts);
    this.element.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = this.element;
    this.element.style.left = `${x + 18 + width < room.width ? x + 18 : Math.max(2, x - 18 - width)}px`;
    this.element.style.top = `${Math.max(2, Math.min(room.height - height - 2, y - height / 3))}px`;
  }

  fill(position, facts) {
    this.position = position;
    const known = this.pictures.get(position);
    this.frame.hidden = known !== undefined && !known.url;
    if (known?.url) this.image.src = known.url;
    else this.image.removeAttribute("src");
    this.image.style.visibility = known?.url ? "visible" : "hidden";
    this.lines.replaceChildren(...(known?.lines.length ? known.lines : facts).map((line) => make("div", "", line)));
  }

  hide() {
    this.position = null;
    this.element.hidden = true;
  }
}
