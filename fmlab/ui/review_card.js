// The card: what its keys and buttons do, and what passes between it and the server.
//
// A verdict key is taken when the item's picture has been on the screen
// for a frame; keys that come earlier wait in `pressed`, in order.

const STAYS = 150; // milliseconds on an item after which its cine is worth fetching
const TELLS = 400; // milliseconds on an item after which the server is told where the reviewer is
const HEARTBEAT = 100; // milliseconds

class ReviewCard extends CardView {
  constructor(parent, send, turn) {
    super();
    this.build(parent);
    this.store = new PictureStore((item) => this.pictureReady(item));
    this.picture = new Picture(this.parts.canvas, this.store, () => this.describeFrame());
    this.talk = new Conversation(() => this.message(), (message) => this.say(message), turn);
    this.send = send;
    this.session = ""; // digest of the session held
    this.order = [];
    this.position = 0;
    this.ready = false; // whether the item's picture has been on the screen
    this.pressed = []; // verdict keys that wait for it
    this.revealed = new Map(); // item → facts told after its verdict
    this.refusals = []; // verdicts that the server will never store
    this.last = null; // item of the last verdict
    this.remarked = "";
    this.wholeFrame = false;
    this.heartbeat = setInterval(() => this.beat(), HEARTBEAT);
    this.onKey = (event) => this.key(event);
    window.addEventListener("keydown", this.onKey, true);
    this.onLeave = (event) => {
      if (this.log?.waiting.length) event.preventDefault(); // the browser asks before verdicts are lost
    };
    window.addEventListener("beforeunload", this.onLeave);
    this.takeFocus();
    this.stayBright();
  }

  // The page fades what it is about to draw again. A reading room that flickers at every key is none.
  stayBright() {
    const frame = this.root.getRootNode().host?.closest("[data-testid='stElementContainer']");
    frame?.style.setProperty("opacity", "1", "important");
    frame?.style.setProperty("transition", "none", "important");
  }

  close() {
    clearInterval(this.heartbeat);
    window.removeEventListener("keydown", this.onKey, true);
    window.removeEventListener("beforeunload", this.onLeave);
    this.picture.pause();
    this.store.clear();
  }

  // ------------------------------------------------------------------------------------------------ from the server

  receive(data) {
    this.talk.hear(data.turn);
    this.offersWhole = data.wholeFrame !== null;
    if (data.fixed && data.session !== this.session) this.begin(data);
    if (data.session !== this.session) {
      this.talk.speak(); // it thinks that we hold what we do not hold
      return;
    }
    // Pictures made before the reviewer asked for the other kind are not taken.
    if (!this.offersWhole || data.wholeFrame === this.wholeFrame) this.store.take(data.items);
    for (const [item, facts] of Object.entries(data.revealed)) this.revealed.set(item, facts);
    this.log.acknowledge(data.acknowledged);
    const refused = this.log.refuse(data.refused);
    if (refused.length) this.refusals = refused;
    this.store.settle(this.order, this.position);
    if (this.current()) this.picture.renumber();
    if (!this.ready) this.present();
    else this.picture.draw();
    this.describe();
    this.talk.speak();
  }

  begin(data) {
    this.session = data.session;
    this.fixed = data.fixed;
    this.order = data.fixed.order;
    this.log = new AnswerLog(data.fixed.name, data.fixed.answered);
    this.elsewhere = this.log.elsewhere();
    this.store.clear();
    this.pressed = [];
    this.revealed.clear();
    this.refusals = [];
    this.last = null;
    this.labelButtons();
    const open = this.order.findIndex((item) => !this.log.answered.has(item));
    this.store.take(data.items);
    this.move(open < 0 ? Math.max(this.order.length - 1, 0) : open);
  }

  // -------------------------------------------------------------------------------------------------- to the server

  message() {
    const now = performance.now();
    const stayed = now - this.shownAt;
    if (stayed > TELLS || this.told === undefined) this.told = this.position;
    const { stills, cines } = this.log ? this.store.wanted(this.order, this.position, stayed > STAYS) : { stills: [], cines: [] };
    return {
      name: this.fixed?.name ?? "",
      holds: this.session,
      answers: this.log?.waiting ?? [],
      wanted_stills: stills,
      wanted_cines: cines,
      position: this.told,
      whole_frame: this.wholeFrame,
    };
  }

  say(message) {
    this.store.noteAsked([...message.wanted_stills, ...message.wanted_cines]);
    this.send(message);
  }

  beat() {
    if (!this.log) return;
    this.talk.speak();
    this.describeSaving();
    this.parts.deaf.hidden = this.hears();
  }

  // ------------------------------------------------------------------------------------------------- moving about

  here() {
    return this.order[this.position];
  }

  current() {
    return this.store.items.get(this.here());
  }

  move(position) {
    this.position = Math.min(Math.max(position, 0), Math.max(this.order.length - 1, 0));
    this.shownAt = performance.now();
    this.ready = false;
    this.store.settle(this.order, this.position);
    this.picture.show(this.here());
    this.present();
    this.describe();
    this.talk.speak();
  }

  // Verdicts that wait come first: they are meant for the item on show.
  pass(by) {
    const go = () => this.move(this.position + by);
    if (this.pressed.length) this.pressed.push(go);
    else go();
  }

  // Draw the item if its picture is there; verdicts are taken from the next frame of the screen on.
  present() {
    const content = this.current();
    const absent = content && !content.frames.length;
    if (!absent && !this.picture.draw()) {
      this.describeFrame();
      return;
    }
    if (absent) this.picture.blank();
    const item = this.here();
    requestAnimationFrame(() => {
      if (this.here() !== item || this.ready) return;
      this.ready = true;
      this.root.dataset.shown = String(this.position + 1);
      while (this.ready && this.pressed.length) this.pressed.shift()();
      this.describeFrame();
    });
  }

  pictureReady(item) {
    if (item !== this.here()) return;
    if (!this.ready) this.present();
    else if (!this.picture.playing) this.picture.draw();
    if (!this.current()?.frames.length) this.describe();
  }

  // The next item without a verdict; after the last one, the first that was left out.
  onward() {
    const open = (item) => !this.log.answered.has(item);
    const later = this.order.findIndex((item, place) => place > this.position && open(item));
    const any = later >= 0 ? later : this.order.findIndex(open);
    this.move(any >= 0 ? any : this.position);
  }

  when(act) {
    if (this.ready) act();
    else if (this.order.length) this.pressed.push(act);
    this.describeFrame();
  }

  // ------------------------------------------------------------------------------------------------------- verdicts

  verdict(kind, label = null) {
    const item = this.here();
    if (this.current().problem && kind !== "skip") {
      this.pressed = [];
      this.remark("Nobody can judge a picture that cannot be shown. Skip it with X.");
      return;
    }
    const again = this.log.answered.has(item);
    this.log.add({
      id: freshId(),
      item,
      kind,
      label,
      note: this.log.notes.get(item) ?? "",
      undoes: null,
      shown: this.shown(),
    });
    this.last = item;
    this.refusals = this.refusals.filter((refused) => refused.item !== item);
    this.remark("");
    if (again) this.move(this.position + 1);
    else this.onward();
  }

  // What the reviewer had before their eyes.
  shown() {
    const { brightness, contrast, inverted, zoom } = this.picture.view;
    const content = this.current();
    return {
      frame: content.frames[this.picture.place]?.number ?? null,
      frames: content.whole ? content.frames.length : 1,
      played: this.picture.played,
      brightness,
      contrast,
      inverted,
      zoom,
      sector_only: !this.wholeFrame,
      revealed: this.revealed.has(this.here()),
      place: this.position + 1,
      seconds: Math.round((performance.now() - this.shownAt) / 10) / 100,
    };
  }

  labelRight() {
    if (this.fixed.blinded) this.remark("The label is hidden. Name the class: a digit, or L for all of them.");
    else this.verdict("label_right", this.current().label);
  }

  // Naming the class that the label names already confirms it.
  name(label) {
    if (this.fixed.blinded || this.current().label === null) this.verdict("class", label);
    else this.verdict(label === this.current().label ? "label_right" : "label_wrong", label);
  }

  digit(number) {
    const label = this.digitClasses()[number];
    if (label === undefined) this.remark("No class has this digit yet. L shows all of them.");
    else this.when(() => this.name(label));
  }

  // Where there are more classes than digits, those that the reviewer has used get one, and keep it.
  digitClasses() {
    const { classes } = this.fixed;
    return classes.length <= DIGITS ? classes : this.log.used.filter((label) => classes.includes(label));
  }

  fromList(label) {
    const { classes } = this.fixed;
    if (classes.length > DIGITS && !this.log.used.includes(label) && this.log.used.length < DIGITS) {
      this.log.used.push(label);
      this.drawClasses();
    }
    this.closeSheets();
    this.when(() => this.name(label));
  }

  undo() {
    const verdict = this.log.made.at(-1);
    if (!verdict) {
      this.remark("Nothing to undo. Go back with ↑ and answer again: the newer answer stands.");
      return;
    }
    this.log.add({
      id: freshId(),
      item: verdict.item,
      kind: "undo",
      label: null,
      note: "",
      undoes: verdict.id,
      shown: {},
    });
    this.last = null;
    const place = this.order.indexOf(verdict.item);
    if (place >= 0) this.move(place);
    this.remark("Undone.");
  }

  // ----------------------------------------------------------------------------------------------------------- keys

  // Keys are the card's while the focus is in it, or nowhere.
  hears() {
    const active = document.activeElement;
    return !active || active === document.body || active === this.root.getRootNode().host;
  }

  key(event) {
    if (!this.fixed || !this.root.isConnected || !this.hears()) return;
    const path = event.composedPath();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (path[0].matches?.("input, textarea")) return; // these have listeners of their own
    if (path[0].tagName === "BUTTON" && (event.key === "Enter" || event.key === " ")) return;
    const act = this.action(event);
    if (!act) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // the page has shortcuts too
    if (!event.repeat || act.repeats) act.run();
  }

  action(event) {
    const digit = /^\d$/.test(event.key) ? event.key : !event.shiftKey && /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
    if (digit) return { run: () => this.digit((Number(digit) + 9) % 10) };
    const sign = event.shiftKey ? -1 : 1;
    const held = (run) => ({ run, repeats: true });
    const once = (run) => ({ run });
    const actions = {
      " ": () => once(() => this.picture.toggle()),
      ArrowLeft: () => held(() => this.picture.step(-1)),
      ArrowRight: () => held(() => this.picture.step(1)),
      Home: () => once(() => this.toFrame(0)),
      End: () => once(() => this.toFrame(-1)),
      "+": () => once(() => this.picture.faster(1)),
      "=": () => once(() => this.picture.faster(1)),
      "-": () => once(() => this.picture.faster(-1)),
      ArrowUp: () => held(() => this.pass(-1)),
      ArrowDown: () => held(() => this.pass(1)),
      k: () => held(() => this.pass(-1)),
      j: () => held(() => this.pass(1)),
      b: () => held(() => this.picture.adjust("brightness", 0.1 * sign)),
      g: () => held(() => this.picture.adjust("contrast", 0.1 * sign)),
      i: () => once(() => this.picture.invert()),
      z: () => once(() => this.picture.zoom()),
      v: () => once(() => this.picture.reset()),
      s: () => once(() => this.switchSector()),
      m: () => once(() => this.when(() => this.labelRight())),
      a: () => once(() => this.when(() => this.verdict("ambiguous"))),
      p: () => once(() => this.when(() => this.verdict("poor_quality"))),
      x: () => once(() => this.when(() => this.verdict("skip"))),
      u: () => once(() => this.when(() => this.undo())),
      n: () => once(() => this.parts.note.focus()),
      l: () => once(() => this.openList()),
      "?": () => once(() => this.toggleKeys()),
      Escape: () => once(() => this.escape()),
    };
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    return Object.hasOwn(actions, name) ? actions[name]() : null;
  }

  toFrame(place) {
    this.picture.pause();
    this.picture.go(place);
  }

  switchSector() {
    if (!this.offersWhole) return;
    this.wholeFrame = !this.wholeFrame;
    this.ready = false;
    this.picture.moved = false;
    this.store.clear(); // what is on the screen stays until the other picture comes
    this.talk.speak();
    this.describe();
  }

  escape() {
    if (this.pressed.length) this.remark("The keys that waited are forgotten.");
    this.pressed = [];
    this.closeSheets();
  }

  takeFocus() {
    const active = document.activeElement;
    if (!active || !active.matches("input, textarea, [contenteditable]")) this.focus();
  }
}

const cards = new WeakMap(); // a card outlives the runs of the script that draw it

export default function ({ data, parentElement, setStateValue }) {
  let card = cards.get(parentElement);
  if (!card) {
    card = new ReviewCard(parentElement, (message) => card.deliver(message), data.turn);
    cards.set(parentElement, card);
  }
  card.deliver = (message) => setStateValue("log", message);
  card.receive(data);
  return () => {
    cards.get(parentElement)?.close();
    cards.delete(parentElement);
  };
}
