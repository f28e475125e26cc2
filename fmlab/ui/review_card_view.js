// What the card looks like: its elements, and how they tell what the card knows. `ReviewCard` extends it with what it does.

class CardView extends CardSheets {
  build(parent) {
    this.root = element("div", "card", undefined, { tabindex: "0", role: "group", "aria-label": "Review card" });
    this.parts = {};
    this.root.append(this.buildStage(), this.buildPanel());
    parent.appendChild(this.root);
  }

  // ---------------------------------------------------------------------------------------------- picture and below

  buildStage() {
    const stage = element("div", "stage");
    const frame = this.part("viewport", "div");
    const canvas = this.part("canvas", "canvas", "picture", undefined, { role: "img", "aria-label": "Image under review" });
    const deaf = this.part("deaf", "p", "deaf", "Click here to use the keys");
    frame.append(canvas, deaf, this.part("absent", "p"), this.part("frame", "p"), this.part("view", "p"), this.buildKeys());
    this.listenToPointer(canvas);
    stage.append(frame, this.buildStrip(), this.buildControls());
    return stage;
  }

  buildStrip() {
    const strip = this.part("strip", "div", "strip", undefined, { "aria-hidden": "true" });
    const seek = (event) => {
      const { left, width } = strip.getBoundingClientRect();
      const count = strip.childElementCount;
      if (!count) return;
      const place = Math.floor((count * (event.clientX - left)) / width);
      this.picture.pause();
      this.picture.go(Math.min(Math.max(place, 0), count - 1));
    };
    strip.addEventListener("pointerdown", (event) => {
      strip.setPointerCapture(event.pointerId);
      seek(event);
    });
    strip.addEventListener("pointermove", (event) => {
      if (strip.hasPointerCapture(event.pointerId)) seek(event);
    });
    return strip;
  }

  buildControls() {
    const controls = element("div", "controls");
    const cine = this.part("cine", "div");
    cine.append(
      this.button("play", "Space", "Play", () => this.picture.toggle()),
      this.button("slower", "", MINUS, () => this.picture.faster(-1), "Slower"),
      this.part("speed", "span"),
      this.button("faster", "", "+", () => this.picture.faster(1), "Faster"),
    );
    const tools = element("div", "tools");
    tools.append(
      this.button("invert", "I", "Invert", () => this.picture.invert()),
      this.button("zoom", "Z", "Zoom", () => this.picture.zoom()),
      this.button("sector", "S", "Whole frame", () => this.switchSector()),
      this.button("reset", "V", "Reset", () => this.picture.reset(), "Picture as it was"),
    );
    controls.append(cine, tools);
    return controls;
  }

  listenToPointer(canvas) {
    let held = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      held = { x: event.clientX, y: event.clientY };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!held || !canvas.hasPointerCapture(event.pointerId)) return;
      const [x, y] = [event.clientX - held.x, event.clientY - held.y];
      held = { x: event.clientX, y: event.clientY };
      if (this.picture.view.zoom > 1) this.picture.pan(x, y);
      else this.picture.drag(x, y);
    });
    canvas.addEventListener("pointerup", () => {
      held = null;
    });
    canvas.addEventListener("dblclick", () => this.picture.reset());
    // The wheel goes through the frames of a clip, but only for who works with the card: others scroll the page.
    const wheel = (event) => {
      if (!this.root.matches(":focus-within") || (this.current()?.frames.length ?? 0) < 2) return;
      event.preventDefault();
      this.picture.step(Math.sign(event.deltaY));
    };
    canvas.addEventListener("wheel", wheel, { passive: false });
  }

  // ---------------------------------------------------------------------------------------------------------- panel

  buildPanel() {
    const panel = element("div", "panel");
    const head = element("div", "head");
    const place = this.part("place", "span", "place", "", { "aria-live": "polite" });
    head.append(place, this.part("tags", "div"), this.part("saving", "span", "saving", "", { role: "status" }));
    this.part("done", "div", "done");
    const bar = this.part("bar", "div", "bar", undefined, { role: "progressbar", "aria-label": "Answered" });
    bar.append(this.parts.done);
    const middle = element("div", "middle");
    middle.append(
      this.part("facts", "dl"),
      this.buildVerdicts(),
      this.part("question", "p"),
      this.part("classes", "div", "classes", undefined, { role: "group" }),
      this.button("list", "L", "All classes …", () => this.openList(), "All classes, with search"),
    );
    const foot = element("div", "foot");
    foot.append(
      this.button("undo", "U", "Undo", () => this.when(() => this.undo())),
      this.button("before", "↑", "Back", () => this.pass(-1), "Item before"),
      this.button("after", "↓", "Next", () => this.pass(1), "Item after"),
      this.button("help", "?", "Keys", () => this.toggleKeys(), "Sheet of all keys"),
    );
    const said = this.part("said", "p", "said", "", { role: "status" });
    const lost = this.part("lost", "p", "lost", "", { role: "alert" });
    panel.append(head, this.part("progress", "p"), bar, lost, middle, this.buildNote(), said, foot, this.buildList());
    return panel;
  }

  buildVerdicts() {
    const verdicts = this.part("verdicts", "div", "verdicts", undefined, { role: "group", "aria-label": "Verdict" });
    verdicts.append(
      this.button("label_right", "M", "Label right", () => this.when(() => this.labelRight())),
      this.button("ambiguous", "A", "Ambiguous", () => this.when(() => this.verdict("ambiguous"))),
      this.button("poor_quality", "P", "Poor quality", () => this.when(() => this.verdict("poor_quality"))),
      this.button("skip", "X", "Skip", () => this.when(() => this.verdict("skip"))),
    );
    return verdicts;
  }

  buildNote() {
    const row = element("label", "note-row");
    const note = this.part("note", "input", "note", undefined, {
      type: "text",
      maxlength: String(LONGEST_NOTE),
      placeholder: "Note, kept with your verdict",
      "aria-label": "Note, kept with your verdict",
      autocomplete: "off",
    });
    note.addEventListener("input", () => {
      if (note.value) this.log.notes.set(this.here(), note.value);
      else this.log.notes.delete(this.here());
      this.log.keep();
    });
    note.addEventListener("keydown", (event) => {
      event.stopPropagation(); // letters are not the page's shortcuts here
      if (event.key === "Enter" || event.key === "Escape") this.focus();
    });
    row.append(element("kbd", "", "N", { "aria-hidden": "true" }), note);
    return row;
  }

  // ------------------------------------------------------------------------------------------------- once a session

  labelButtons() {
    const { titles, blinded, classes, adjudicating } = this.fixed;
    for (const kind of ["label_right", "ambiguous", "poor_quality", "skip"]) this.reword(kind, titles[kind]);
    this.parts.label_right.hidden = blinded;
    this.root.classList.toggle("blinded", blinded);
    this.parts.question.textContent = blinded ? "Which class is it?" : `${titles.label_wrong}, the right class is`;
    if (adjudicating) this.parts.question.textContent = "Your decision, above all other verdicts";
    this.parts.classes.setAttribute("aria-label", this.parts.question.textContent);
    this.fillKeys();
    this.parts.list.hidden = classes.length <= DIGITS;
    this.drawClasses();
  }

  drawClasses() {
    const buttons = this.digitClasses().map((label, place) => {
      const button = element("button", "class", undefined, { type: "button", title: label });
      button.append(
        element("kbd", "", String((place + 1) % DIGITS), { "aria-hidden": "true" }),
        element("span", "words", label),
        element("span", "mark"),
      );
      button.addEventListener("click", (event) => {
        this.when(() => this.name(label));
        if (event.detail > 0) this.focus();
      });
      return button;
    });
    if (!buttons.length) buttons.push(element("p", "hint", "Find a class with L. The first ten that you use get a digit."));
    this.parts.classes.replaceChildren(...buttons);
  }

  // ---------------------------------------------------------------------------------------------------- every change

  describe() {
    if (!this.fixed) return;
    this.describeProgress();
    this.describeItem();
    this.describeLast();
    this.describeStrip();
    this.describeFrame();
    this.describeSaving();
  }

  describeProgress() {
    const count = this.order.length;
    const answered = this.order.filter((item) => this.log.answered.has(item)).length;
    write(this.parts.place, count ? `${this.position + 1} of ${count}` : "Nothing to review");
    const left = count - answered;
    write(this.parts.progress, left ? `${answered} answered, ${left} left` : `All ${count} answered`);
    this.parts.done.style.width = `${count ? (100 * answered) / count : 0}%`;
    this.parts.bar.setAttribute("aria-valuemax", String(count));
    this.parts.bar.setAttribute("aria-valuenow", String(answered));
    this.root.classList.toggle("finished", count > 0 && left === 0);
  }

  describeItem() {
    const content = this.current();
    const facts = (content?.facts ?? []).map(([name, value]) => {
      const fact = element("div", "fact");
      fact.append(element("dt", "", name), element("dd", "", value));
      return fact;
    });
    this.parts.facts.replaceChildren(...facts);
    this.parts.tags.replaceChildren(...(content?.tags ?? []).map((tag) => element("span", "tag", tag)));
    write(this.parts.absent, content && !content.frames.length ? content.problem || "There is no picture of this item." : "");
    const verdict = this.log.answered.get(this.here());
    for (const kind of ["label_right", "ambiguous", "poor_quality", "skip"]) {
      this.parts[kind].setAttribute("aria-pressed", String(verdict?.kind === kind));
    }
    for (const button of this.parts.classes.querySelectorAll("button")) {
      const named = ["label_wrong", "class"].includes(verdict?.kind) && verdict.label === button.title;
      button.setAttribute("aria-pressed", String(named));
      const marks = [content?.label === button.title && "label", content?.answer === button.title && "model"];
      button.querySelector(".mark").textContent = marks.filter(Boolean).join(", ");
    }
    this.parts.question.classList.toggle("chosen", ["label_wrong", "class"].includes(verdict?.kind));
    this.parts.note.value = this.log.notes.get(this.here()) ?? "";
    this.parts.sector.hidden = !this.offersWhole;
    this.reword("sector", this.wholeFrame ? "Sector only" : "Whole frame");
  }

  describeLast() {
    const facts = this.revealed.get(this.last);
    const refused = this.refusals?.[0];
    const last = facts ? `Last one: ${facts.map(([name, value]) => `${name} ${value}`).join(", ")}.` : "";
    const trouble = refused ? `Not saved, number ${this.order.indexOf(refused.item) + 1}: ${refused.sentence}` : "";
    write(this.parts.said, trouble || this.remarked || last);
    this.parts.said.classList.toggle("trouble", Boolean(trouble));
  }

  remark(words) {
    this.remarked = words;
    this.describeLast();
  }

  describeStrip() {
    const frames = this.current()?.frames ?? [];
    const { strip, cine } = this.parts;
    cine.classList.toggle("idle", frames.length < 2);
    if (strip.frames === frames) return;
    strip.frames = frames;
    const cells = frames.length < 2 ? [] : frames.map((frame) => {
      const kinds = ["cell", frame.scored && "scored", frame.against && "against"].filter(Boolean);
      return element("span", kinds.join(" "), undefined, { title: this.frameWords(frame) });
    });
    strip.replaceChildren(...cells);
  }

  frameWords(frame) {
    if (!frame.scored) return `frame ${frame.number}, not scored`;
    if (!frame.vote) return `frame ${frame.number}, scored`;
    return `frame ${frame.number}, voted ${frame.vote}${frame.against ? ", against the label" : ""}`;
  }

  // Called for every frame that is drawn: only what changes with it.
  describeFrame() {
    if (!this.fixed) return;
    const { strip, frame, speed } = this.parts;
    const content = this.current();
    const frames = content?.frames ?? [];
    const shown = frames[this.picture.place];
    strip.querySelector(".now")?.classList.remove("now");
    strip.children[this.picture.place]?.classList.add("now");
    const several = shown && frames.length > 1 ? `${this.picture.place + 1} of ${frames.length}: ` : "";
    const alone = content?.whole ? "one image" : "";
    write(frame, this.ready || !this.order.length ? (several ? several + this.frameWords(shown) : alone) : this.waitWords());
    frame.classList.toggle("against", Boolean(this.ready && several && shown.against));
    this.reword("play", this.picture.playing ? "Pause" : "Play");
    write(speed, `${Math.round(this.picture.rate())} frames/s`);
    this.describeView();
  }

  waitWords() {
    const count = this.pressed.length;
    if (!count) return "The picture is coming …";
    return `The picture is coming; ${count === 1 ? "1 key waits" : `${count} keys wait`} for it.`;
  }

  describeView() {
    const { zoom, inverted, brightness, contrast } = this.picture.view;
    this.parts.invert.setAttribute("aria-pressed", String(inverted));
    const changes = [
      zoom !== 1 && `${zoom} ×`,
      brightness !== 1 && `brightness ${Math.round(100 * brightness)} %`,
      contrast !== 1 && `contrast ${Math.round(100 * contrast)} %`,
    ].filter(Boolean);
    write(this.parts.view, changes.join(", "));
    this.parts.reset.hidden = !inverted && !changes.length;
  }

  describeSaving() {
    const { saving } = this.parts;
    const waiting = this.log.waiting.length;
    const late = this.log.late();
    const elsewhere = this.elsewhere;
    let words = this.log.made.length ? "Saved" : "";
    if (late) words = `${waiting} not saved`;
    else if (waiting) words = "Saving …";
    else if (elsewhere) words = `${elsewhere} of another queue not saved`;
    write(saving, words);
    saving.className = late || elsewhere ? "saving trouble" : "saving";
    const kept = this.log.durable ? "They are kept in this tab and sent again." : "Keep this page open: the browser stores nothing.";
    saving.title = late ? `The server has not confirmed them. ${kept}` : "";
    this.parts.lost.hidden = !late;
    write(this.parts.lost, `The server does not answer. ${kept}`);
  }
}
