// The sheets that lie over the review card, all classes with a search and all keys, and how the card's parts are made.

const DIGITS = 10;
const LONGEST_NOTE = 2000;
const MINUS = "\u2212";

// Sections of the sheet of keys; where the words are a kind of verdict, the words of its button stand there.
const KEYS = {
  Verdict: [
    ["M", "label_right"],
    ["1 … 9 0", "name the class"],
    ["L", "all classes, with search"],
    ["A", "ambiguous"],
    ["P", "poor_quality"],
    ["X", "skip"],
    ["N", "note"],
    ["U", "undo"],
    ["↑ ↓ or K J", "item before, after"],
  ],
  Clip: [
    ["Space", "play, pause"],
    ["← →", "frame before, after"],
    ["Home End", "first, last frame"],
    [`+ ${MINUS}`, "faster, slower"],
    ["Wheel", "through the frames"],
  ],
  Picture: [
    ["B ⇧B", "brighter, darker"],
    ["G ⇧G", "more, less contrast"],
    ["Drag", "up: brighter, right: contrast"],
    ["I", "invert"],
    ["Z", "zoom 1 ×, 2 ×, 3 ×; drag to move"],
    ["S", "whole frame, sector only"],
    ["V", "picture as it was"],
    ["Esc", "close; forget keys that wait"],
  ],
};

function element(tag, className, text, attributes = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// Text that is there already costs the browser a new layout all the same.
function write(part, words) {
  if (part.textContent !== words) part.textContent = words;
}

class CardSheets {
  // A named part, so that it can be told things later.
  part(name, tag, className, text, attributes) {
    this.parts[name] = element(tag, className ?? name, text, attributes);
    return this.parts[name];
  }

  // A button whose key stands on it; a press with the pointer gives the keys back to the card.
  button(name, key, words, act, label = words) {
    const button = this.part(name, "button", name, undefined, { type: "button", "aria-label": label, title: label });
    if (key) button.append(element("kbd", "", key, { "aria-hidden": "true" }));
    button.append(element("span", "words", words));
    button.addEventListener("click", (event) => {
      act();
      if (event.detail > 0) this.focus();
    });
    return button;
  }

  reword(name, words) {
    const button = this.parts[name];
    if (button.lastChild.textContent === words) return;
    button.lastChild.textContent = words;
    button.setAttribute("aria-label", words);
    button.title = words;
  }

  // -------------------------------------------------------------------------------------------------- making sheets

  buildList() {
    const sheet = this.part("listSheet", "div", "sheet list-sheet", undefined, { role: "dialog", "aria-label": "All classes" });
    const search = this.part("search", "input", "search", undefined, {
      type: "text",
      role: "combobox",
      placeholder: "Search the classes",
      "aria-label": "Search the classes",
      "aria-expanded": "true",
      autocomplete: "off",
    });
    const found = this.part("found", "div", "found", undefined, { role: "listbox", "aria-label": "Classes" });
    search.addEventListener("input", () => this.fillList());
    search.addEventListener("keydown", (event) => {
      event.stopPropagation();
      const moves = { ArrowDown: 1, ArrowUp: -1 };
      if (event.key in moves) this.markFound(this.marked + moves[event.key]);
      else if (event.key === "Enter") found.children[this.marked]?.click();
      else if (event.key === "Escape") this.closeSheets();
      else return;
      event.preventDefault();
    });
    sheet.append(search, found);
    sheet.hidden = true;
    return sheet;
  }

  buildKeys() {
    const sheet = this.part("keySheet", "div", "sheet key-sheet", undefined, { role: "dialog", "aria-label": "Keys" });
    sheet.hidden = true;
    sheet.addEventListener("click", () => this.closeSheets());
    return sheet;
  }

  // ---------------------------------------------------------------------------------------------------- using sheets

  fillKeys() {
    const { titles, blinded } = this.fixed;
    const sections = Object.entries(KEYS).map(([title, keys]) => {
      const section = element("section", "");
      section.append(element("h4", "", title));
      for (const [key, words] of keys) {
        const row = element("div", "key-row");
        row.append(element("kbd", "", key), element("span", "", titles[words] ?? words));
        if (!(blinded && key === "M") && !(key === "S" && !this.offersWhole)) section.append(row);
      }
      return section;
    });
    this.parts.keySheet.replaceChildren(...sections);
  }

  openList() {
    this.picture.pause();
    this.parts.listSheet.hidden = false;
    this.parts.search.value = "";
    this.fillList();
    this.parts.search.focus();
  }

  fillList() {
    const wanted = this.parts.search.value.trim().toLowerCase();
    const places = (label) => label.toLowerCase().indexOf(wanted);
    const labels = this.fixed.classes.filter((label) => places(label) >= 0);
    if (wanted) labels.sort((one, other) => Math.sign(places(one)) - Math.sign(places(other))); // those that begin so first
    const rows = labels.map((label) => {
      const row = element("div", "choice", label, { role: "option" });
      row.addEventListener("click", () => this.fromList(label));
      return row;
    });
    this.parts.found.replaceChildren(...rows);
    if (!rows.length) this.parts.found.append(element("p", "hint", "No class holds these letters."));
    this.marked = 0;
    this.markFound(0);
  }

  markFound(place) {
    const rows = this.parts.found.querySelectorAll(".choice");
    if (!rows.length) return;
    rows[this.marked]?.setAttribute("aria-selected", "false");
    this.marked = Math.min(Math.max(place, 0), rows.length - 1);
    rows[this.marked].setAttribute("aria-selected", "true");
    rows[this.marked].scrollIntoView({ block: "nearest" });
  }

  toggleKeys() {
    this.parts.keySheet.hidden = !this.parts.keySheet.hidden;
  }

  closeSheets() {
    this.parts.listSheet.hidden = true;
    this.parts.keySheet.hidden = true;
    this.focus();
  }

  focus() {
    this.root.focus({ preventScroll: true });
  }
}
