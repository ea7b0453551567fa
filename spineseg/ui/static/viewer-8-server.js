// What a person changed, on its way to the server and back. The server only says what follows from the masks (figures,
// lines, corners, files) and need not know the film: each request carries masks, size and spacing.
const NO_ANSWER_MS = 10000;
const sync = { waiting: 0, asked: 0, sent: 0, masks: null, tries: 0, again: false, reopening: false, forgotten: null };
let saving = Promise.resolve();

const sentMasks = () => {
  const { film: token, rows, columns, spacing, aspect } = shown;
  return { film: token, rows, columns, spacing, aspect, masks: allRuns(shown.a) };
};

// After each step.
function editsChanged(store = true) {
  shown.a.corrected = isCorrected();
  root.dataset.steps = edits.at;
  refreshControls();
  storePicture();
  if (store) saving = saving.then(storeEdits);
  changedMeanwhile();
}

// Ask for figures; while an answer or a model's masks are awaited, once more after them.
function changedMeanwhile() {
  if (sync.waiting || shown.awaited) {
    sync.again = true;
    return;
  }
  sync.waiting = setTimeout(noAnswer, NO_ANSWER_MS);
  sync.sent = performance.now();
  root.dataset.asked = sync.asked += 1;
  const sent = sentMasks();
  sync.masks = sent.masks;
  trigger('correct', { ...sent, asked: sync.asked });
}

// An answer that does not come is asked for once more.
function noAnswer() {
  sync.waiting = 0;
  if (sync.tries++) announce(say('sayOffline'));
  else changedMeanwhile();
}

window.addEventListener('online', () => { if (root.isConnected && sync.tries && shown.a) changedMeanwhile(); });

function answered(value) {
  if (value.asked !== sync.asked) return; // a late one
  clearTimeout(sync.waiting);
  if (sync.tries) (edit.on ? sayTool : announce)(''); // the server is back
  Object.assign(sync, { waiting: 0, tries: 0 });
  root.dataset.correctMs = Math.round(performance.now() - sync.sent);
  root.dataset.answered = value.asked;
  if (value.film !== shown.film || !shown.a) return;
  document.dispatchEvent(new CustomEvent('spineseg:measured', { detail: { film: value.film, cells: value.cells, corrected: value.corrected, renumbered: value.renumbered, masks: sync.masks } }));
  shown.lines = value.lines;
  find('.with-lines').hidden = !shown.lines.length;
  if (sync.again) {
    sync.again = false;
    changedMeanwhile();
  } else if (!edit.gesture) takeCorners(value.corners);
  if (value.forgotten) reopen();
  redraw(false);
}

// Corners as the server measured them: (row, column), the centres of pixels at whole numbers.
function takeCorners(corners) {
  corners?.forEach((four, k) => { if (four) { shown.a.corners[k] = four.map(([row, column]) => [column + 0.5, row + 0.5]); shown.a.outlines[k] = null; } });
}

// The server has forgotten the film. One that was opened in this tab is sent again; its contours stay as they are. Where
// the server has the next film already, that one is on its way here.
function reopen() {
  const file = NAMED.get(shown.film);
  if (file && [...NAMED.keys()].at(-1) !== shown.film) return;
  if (!file && sync.forgotten !== shown.film) announce(say('sayForgotten'));
  sync.forgotten = shown.film;
  if (!file || sync.reopening) return;
  sync.reopening = true;
  document.dispatchEvent(new CustomEvent('spineseg:film-sent-again', { detail: file }));
}

// ---- masks of a model arrive ----

// opened: they are the first of a film that was just opened, or opened again; else the film was segmented once more.
async function masksArrived(corners, opened) {
  const arrived = shown.a;
  takeCorners(corners);
  sync.reopening = false;
  if (edits.hash !== shown.hash) {
    beginHistory(arrived);
    const record = await storedEdits(shown.hash);
    if (record?.rows === shown.rows && record.columns === shown.columns) takeUp(record);
  } else if (!edits.steps.length) beginHistory(arrived);
  else if (opened) takeUp({ ...edits });
  else replaceByModel(arrived);
}

// The steps that were kept, over the model's masks as they are now. store: keep them again.
function takeUp(record, model = allRuns(shown.a), store = true) {
  Object.assign(edits, record, { model });
  showBits(replayed(record, shown.rows * shown.columns, filmSize()));
  if (isCorrected()) announce(say('sayRestored'));
  editsChanged(store);
}

function replaceByModel(arrived) {
  const fresh = arrived.bits, model = allRuns(arrived);
  showBits(replayed(edits, fresh.length, filmSize()));
  edits.model = model;
  if (replaceMasks(fresh, say('stepSegmented'))) announce(say('saySegmented'));
}

function showBits(bits) {
  shown.a.bits = bits;
  shown.a.vertebrae = vertebraeIn(bits, shown.columns);
  shown.a.outlines = [];
}

// ---- buttons beside the picture ----

document.addEventListener('spineseg:correct', ({ detail: { action, vertebra } }) => {
  if (!shown.a || !root.isConnected) return;
  ({ lower: () => shiftAll(1), higher: () => shiftAll(-1), drop: () => removeVertebra(vertebra), undo })[action]?.();
});
