// What a person changed in the masks shown: steps that can each be undone and redone. A step is a patch, so undoing gives
// back the very same pixels, and masks beyond the first or last name, by level, are kept beside them: those that the model
// found there, and those that were moved there.
const MOST_STEPS = 300, MOST_RUNS = 500_000; // of one film
const NO_STEPS = { hash: null, model: null, start: null, steps: [], at: 0, beyond: {} };
const edits = { ...NO_STEPS }; // model, start: run lengths of the model's masks and of those before the first step

const filmSize = () => ({ rows: shown.rows, columns: shown.columns });
const wholeFilm = () => ({ left: 0, top: 0, right: shown.columns - 1, bottom: shown.rows - 1 });
const boxOf = (vertebra) => vertebra && { left: vertebra.left, top: vertebra.top, right: vertebra.left + vertebra.canvas.width - 1, bottom: vertebra.top + vertebra.canvas.height - 1 };
const boxOfAll = () => shown.a.vertebrae.map(boxOf).reduce(union, null);
const allRuns = (layer) => layer.vertebrae.map((vertebra, k) => runsOf(layer.bits, k, filmSize(), boxOf(vertebra)));
const isCorrected = () => allRuns(shown.a).some((runs, k) => runs.length !== edits.model[k].length || runs.some((length, n) => length !== edits.model[k][n]));

// A film's masks as the model gave them; what was done to other masks is no longer of use.
function beginHistory(layer) {
  const runs = allRuns(layer);
  Object.assign(edits, NO_STEPS, { hash: shown.hash, model: runs, start: runs, steps: [], beyond: layer.beyond });
}

// Make a step of what was changed within the box since `before`. Returns whether anything was.
function commit(before, box, text, beyond = edits.beyond) {
  const patch = box && patchBetween(before, shown.a.bits, filmSize(), box);
  if (!patch) return false;
  edits.steps.length = edits.at;
  edits.steps.push({ patch, text, before: edits.beyond, after: beyond });
  edits.beyond = beyond;
  edits.at = edits.steps.length;
  if (edits.steps.length > MOST_STEPS || edits.steps.reduce((sum, step) => sum + step.patch.lengths.length, 0) > MOST_RUNS) forgetOldest();
  masksChanged(box);
  editsChanged();
  if (edit.on) sayTool();
  else announce(''); // what was said of an earlier step
  return true;
}

// The oldest sixth of the steps becomes part of what the first step starts from.
function forgetOldest() {
  const count = Math.ceil(edits.steps.length / 6), bits = replayed({ ...edits, at: count }, shown.rows * shown.columns, filmSize());
  edits.start = allRuns({ bits, vertebrae: vertebraeIn(bits, shown.columns) });
  edits.steps.splice(0, count);
  edits.at -= count;
}

function travel(to) {
  if (!shown.a || edit.gesture || to < 0 || to > edits.steps.length || to === edits.at) return;
  const back = to < edits.at, step = edits.steps[back ? to : edits.at];
  applyPatch(shown.a.bits, filmSize(), step.patch);
  edits.beyond = back ? step.before : step.after;
  edits.at = to;
  masksChanged(step.patch.box);
  editsChanged();
  announce(say(back ? 'sayUndone' : 'sayRedone', { step: step.text }));
}
const undo = () => travel(edits.at - 1);
const redo = () => travel(edits.at + 1);

// The masks as they are after the steps that were done.
function replayed({ start, steps: done, at }, size, of) {
  const bits = bitsOf(start, size);
  for (const { patch } of done.slice(0, at)) applyPatch(bits, of, patch);
  return bits;
}

// ---- pictures of what changed ----

// Redraw every vertebra that has or had pixels in the box.
function masksChanged(box) {
  shown.a.vertebrae = shown.a.vertebrae.map((vertebra, k) => {
    const old = boxOf(vertebra), part = union(old, box);
    if (old && !overlaps(old, box)) return vertebra;
    const found = boxWithin(shown.a.bits, k, filmSize(), old ? part : box);
    shown.a.outlines[k] = null;
    return found && drawVertebra(found, k, shown.a.bits, shown.columns);
  });
  shown.difference = null;
  redraw(false);
}
const overlaps = (a, b) => a.left <= b.right && b.left <= a.right && a.top <= b.bottom && b.top <= a.bottom;

// ---- steps that need no pointer ----

// Change the masks within the box: `change(value)` gives a pixel's new value.
function changeAll(box, change, text, beyond) {
  if (!box) return false;
  if (edit.gesture) cancelEdit(); // it began with masks that are not these
  const before = shown.a.bits.slice(), { bits } = shown.a;
  for (let y = box.top; y <= box.bottom; y++)
    for (let i = y * shown.columns + box.left, end = i + box.right - box.left; i <= end; i++) if (bits[i]) bits[i] = change(bits[i], i);
  return commit(before, box, text, beyond);
}

const removeVertebra = (k) => changeAll(boxOf(shown.a.vertebrae[k]), (value) => value & ~(1 << k), say('stepRemove', { name: props.names[k] }));

function rename(from, to) {
  const exchange = (value) => (value & ~(1 << from) & ~(1 << to)) | (((value >> from) & 1) << to) | (((value >> to) & 1) << from);
  const box = union(boxOf(shown.a.vertebrae[from]), boxOf(shown.a.vertebrae[to]));
  return changeAll(box, exchange, say('stepRename', { name: props.names[from], other: props.names[to] }));
}

// Move all names caudally. What loses its name is kept, and has it again when names are moved back.
function shiftAll(levels) {
  if (edit.gesture) cancelEdit();
  const named = (k) => k >= 0 && k < BACKGROUND, { vertebrae, bits } = shown.a;
  if (!vertebrae.some((vertebra, k) => vertebra && named(k + levels))) return announce(say('sayNoneLeft'));
  const beyond = {}, back = new Map();
  vertebrae.forEach((vertebra, k) => { if (vertebra && !named(k + levels)) beyond[k + levels] = runsOf(bits, k, filmSize(), boxOf(vertebra)); });
  for (const [level, runs] of Object.entries(edits.beyond)) {
    const now = Number(level) + levels;
    if (named(now)) back.set(now, runs);
    else beyond[now] = runs;
  }
  const before = bits.slice(), every = 2 ** BACKGROUND - 1;
  const box = boxOfAll();
  for (let y = box.top; y <= box.bottom; y++)
    for (let i = y * shown.columns + box.left, end = i + box.right - box.left; i <= end; i++) bits[i] = (levels > 0 ? bits[i] << levels : bits[i] >> -levels) & every;
  for (const [k, runs] of back) {
    const found = bitsOf([runs], bits.length);
    for (let i = 0; i < found.length; i++) if (found[i] && !bits[i]) bits[i] = 1 << k;
  }
  commit(before, back.size ? wholeFilm() : box, say('stepShift'), beyond);
}

// Put the model's masks in place of those shown, as one step.
function replaceMasks(bits, text) {
  if (edit.gesture) cancelEdit();
  const before = shown.a.bits.slice();
  shown.a.bits.set(bits);
  return commit(before, wholeFilm(), text, shown.a.beyond);
}
const backToModel = () => replaceMasks(bitsOf(edits.model, shown.a.bits.length), say('stepOriginal'));
