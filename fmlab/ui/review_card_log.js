// The log of verdicts: added to by keys, kept over a reload, emptied only by what the server says of each id.
//
// Two classes. `AnswerLog` knows what was answered and what is not yet known to be stored. `Conversation` decides when
// to speak to the server: one message at a time, each with a number that comes back, again after a while without answer.

const STORAGE_PREFIX = "fmlab-review:";
const MOST_MADE = 200; // verdicts of this sitting that can be undone after a reload
const LATE = 2500; // milliseconds after which a verdict that is not acknowledged counts as not saved
const BREATH = 120; // milliseconds from one message to the next: keys in haste share one
const DEAF = 3000; // milliseconds without an answer after which a message is sent again
const SLOWEST_RETRY = 5000; // milliseconds

function freshId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  // Pages served over plain HTTP to another machine have random numbers, but no function for ids.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

class AnswerLog {
  constructor(name, answered) {
    this.key = STORAGE_PREFIX + name;
    this.waiting = []; // answers without acknowledgement, oldest first
    this.made = []; // this browser's verdicts {id, item, kind, label}, oldest first; undone ones are removed
    this.notes = new Map(); // item → note written before its verdict
    this.used = []; // classes that got a digit, where there are more classes than digits
    this.addedAt = new Map(); // id → time
    const verdicts = Object.entries(answered).map(([item, kind]) => [item, { kind, label: null }]);
    this.answered = new Map(verdicts); // item → {kind, label}: the standing verdict
    this.stored = new Map(this.answered); // item → the verdict of before this sitting: an undo brings it back
    this.durable = true; // whether the browser lets us keep the log over a reload
    this.restore();
  }

  restore() {
    let kept = null;
    try {
      kept = JSON.parse(sessionStorage.getItem(this.key));
    } catch {
      this.durable = false;
    }
    if (!kept) return;
    this.made = kept.made;
    this.used = kept.used;
    this.notes = new Map(kept.notes);
    // What was acknowledged before the reload is in `answered` already, if it still stands.
    const known = new Set(kept.waiting.map((answer) => answer.id));
    this.made.filter((verdict) => !known.has(verdict.id)).forEach((verdict) => {
      const standing = this.answered.get(verdict.item);
      if (standing && standing.kind === verdict.kind) this.answered.set(verdict.item, verdict);
      if (standing) this.stored.delete(verdict.item);
    });
    for (const answer of kept.waiting) {
      if (answer.kind === "undo") this.stored.delete(answer.item); // what the server still knows is what is undone
      this.waiting.push(answer);
      this.addedAt.set(answer.id, performance.now());
      this.stand(answer);
    }
  }

  keep() {
    const content = { waiting: this.waiting, made: this.made.slice(-MOST_MADE), used: this.used, notes: [...this.notes] };
    try {
      sessionStorage.setItem(this.key, JSON.stringify(content));
      this.durable = true;
    } catch {
      this.durable = false; // said beside the number of verdicts that wait
    }
  }

  add(answer) {
    this.waiting.push(answer);
    this.addedAt.set(answer.id, performance.now());
    if (answer.kind === "undo") {
      this.made = this.made.filter((verdict) => verdict.id !== answer.undoes);
    } else {
      this.made.push({ id: answer.id, item: answer.item, kind: answer.kind, label: answer.label });
      this.notes.delete(answer.item);
    }
    this.stand(answer);
    this.keep();
  }

  // Let an answer decide what stands for its item.
  stand(answer) {
    if (answer.kind !== "undo") {
      this.answered.set(answer.item, { kind: answer.kind, label: answer.label });
      return;
    }
    this.fallBack(answer.item);
  }

  // The newest verdict of this sitting on an item, else the one of before.
  fallBack(item) {
    const before = this.made.findLast((verdict) => verdict.item === item) ?? this.stored.get(item);
    if (before) this.answered.set(item, before);
    else this.answered.delete(item);
  }

  // Forget answers whose ids stand in the store. Returns whether there were any.
  acknowledge(ids) {
    const stored = new Set(ids);
    const before = this.waiting.length;
    this.waiting = this.waiting.filter((answer) => !stored.has(answer.id));
    ids.forEach((id) => this.addedAt.delete(id));
    if (this.waiting.length !== before) this.keep();
    return this.waiting.length !== before;
  }

  // Take back answers that the server will not store. Returns them, each with its sentence.
  refuse(sentences) {
    const refused = this.waiting.filter((answer) => answer.id in sentences);
    if (!refused.length) return [];
    this.waiting = this.waiting.filter((answer) => !(answer.id in sentences));
    this.made = this.made.filter((verdict) => !(verdict.id in sentences));
    for (const answer of refused) {
      this.addedAt.delete(answer.id);
      this.fallBack(answer.item);
    }
    this.keep();
    return refused.map((answer) => ({ item: answer.item, sentence: sentences[answer.id] }));
  }

  late() {
    const now = performance.now();
    return this.waiting.filter((answer) => now - this.addedAt.get(answer.id) > LATE).length;
  }

  // Verdicts of other sittings of this browser tab that never reached the server.
  elsewhere() {
    let count = 0;
    try {
      for (let place = 0; place < sessionStorage.length; place += 1) {
        const key = sessionStorage.key(place);
        if (!key.startsWith(STORAGE_PREFIX) || key === this.key) continue;
        count += JSON.parse(sessionStorage.getItem(key)).waiting.length;
      }
    } catch {
      this.durable = false;
    }
    return count;
  }
}

class Conversation {
  // `wanted()` gives what the card would say now; `send(message)` says it.
  constructor(wanted, send, turn) {
    this.wanted = wanted;
    this.send = send;
    this.turn = turn;
    this.heard = turn;
    this.sentAt = -Infinity;
    this.sentAnswers = new Set(); // ids that the message under way, or the last one, held
    this.sent = ""; // the last message without its answers
    this.retry = 300; // milliseconds until answers that came back unacknowledged are sent again
  }

  waits() {
    return this.heard < this.turn;
  }

  // The number of our last message that the server has seen comes back with everything that it sends.
  // A server that was started anew has forgotten it: then nothing of ours is under way.
  hear(turn) {
    this.heard = turn < this.heard ? this.turn : turn;
    this.turn = Math.max(this.turn, turn);
  }

  // Speak if there is something new to say, or something that was not answered. Called often.
  speak() {
    const now = performance.now();
    if (now - this.sentAt < (this.waits() ? DEAF : BREATH)) return; // the heartbeat asks again
    const message = this.wanted();
    const unknown = message.answers.some((answer) => !this.sentAnswers.has(answer.id));
    if (unknown) this.retry = 300;
    const stale = message.answers.length > 0 && now - this.sentAt > this.retry;
    const rest = JSON.stringify({ ...message, answers: [] });
    const asks = message.wanted_stills.length + message.wanted_cines.length > 0;
    if (!unknown && !stale && !asks && !this.waits() && rest === this.sent) return;
    if (!unknown && stale) this.retry = Math.min(2 * this.retry, SLOWEST_RETRY);
    this.turn += 1;
    this.sentAt = now;
    this.sent = rest;
    this.sentAnswers = new Set(message.answers.map((answer) => answer.id));
    this.send({ ...message, turn: this.turn });
  }
}
