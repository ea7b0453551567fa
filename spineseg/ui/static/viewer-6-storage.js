// What is kept in this browser of films whose masks a person changed: masks and steps by a digest of the film's pixels,
// for a week; and, until this tab is closed, the picture of the film shown. Nothing is kept of other films.
const KEPT_MS = 7 * 24 * 3600 * 1000, KEPT_FILMS = 30, TAB = 'spineseg-film';
const NO_STORE_MS = 2000; // a database that another tab holds may never open

const answer = (request) => new Promise((resolve, reject) => {
  request.addEventListener('success', () => resolve(request.result));
  request.addEventListener('error', () => reject(request.error));
});

const finished = (transaction) => new Promise((resolve, reject) => {
  transaction.addEventListener('complete', resolve);
  transaction.addEventListener('abort', () => reject(transaction.error));
});

async function database() {
  const request = indexedDB.open('spineseg', 1);
  request.addEventListener('upgradeneeded', () => request.result.createObjectStore('films', { keyPath: 'hash' }));
  return answer(request);
}

// Runs the action on the stored films. A browser that stores nothing, or does not answer, only forgets: null.
function stored(mode, action) {
  const late = new Promise((resolve) => { setTimeout(resolve, NO_STORE_MS, null); });
  return Promise.race([onFilms(mode, action).catch(() => null), late]);
}

async function onFilms(mode, action) {
  const opened = await database();
  try {
    const transaction = opened.transaction('films', mode), done = finished(transaction);
    const [result] = await Promise.all([action(transaction.objectStore('films')), done]);
    return result;
  } finally {
    opened.close();
  }
}

// What is stored of a film, if its masks can be made of it; damage, or another version of this page, may have left it.
async function storedEdits(hash) {
  const record = await stored('readonly', (films) => answer(films.get(hash)));
  if (!record || sound(record)) return record;
  await stored('readwrite', (films) => answer(films.delete(hash)));
  return null;
}

function sound(record) {
  try {
    return replayed(record, record.rows * record.columns, record).every((value) => (value & (value - 1)) === 0);
  } catch {
    return false;
  }
}

async function storeEdits() {
  const { hash, model, start, steps, at, beyond } = edits;
  if (!hash) return;
  if (!steps.length) return stored('readwrite', (films) => answer(films.delete(hash)));
  const record = { hash, model, start, steps, at, beyond, own: shown.a.beyond, rows: shown.rows, columns: shown.columns, saved: Date.now() };
  if (!(await stored('readwrite', (films) => answer(films.put(record))))) return sayNotStored(hash);
  root.dataset.stored = Number(root.dataset.stored ?? 0) + 1;
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a BroadcastChannel is of one origin
  otherTabs.postMessage(hash);
}

// Other tabs of this browser that show the same film go on from what was done here: one record is kept of it.
const otherTabs = new BroadcastChannel('spineseg');
otherTabs.addEventListener('message', ({ data: hash }) => {
  if (root.isConnected) queue = queue.then(() => takeOver(hash)).catch((error) => console.error('viewer:', error));
});

async function takeOver(hash) {
  const shows = () => shown.a && hash === shown.hash && hash === edits.hash, record = shows() ? await storedEdits(hash) : null;
  if (!record || !shows()) return;
  if (edit.gesture) cancelEdit();
  takeUp(record, edits.model, false);
}

// Once for each film.
function sayNotStored(hash) {
  if (sayNotStored.of !== hash) announce(say('sayNotStored'));
  sayNotStored.of = hash;
}

// Remove what is older than a week, and the oldest of more than so many films.
function sweepStored() {
  return stored('readwrite', async (films) => {
    const newest = (await answer(films.getAll())).toSorted((a, b) => b.saved - a.saved);
    const old = newest.filter(({ saved }, n) => n >= KEPT_FILMS || !(Date.now() - saved < KEPT_MS));
    await Promise.all(old.map(({ hash }) => answer(films.delete(hash))));
  });
}

// ---- the film shown, for this tab alone ----

// In a frame of another site, or in a private window, a browser may have no storage at all: naming it throws.
function onTab(action) {
  try {
    return action(sessionStorage);
  } catch {
    return null;
  }
}

// The picture is kept as it came, in `shown.source`. One that is too large for the browser's limit is not kept.
function storePicture() {
  const { film: token, rows, columns, hash, spacing, aspect, source, about: values } = shown;
  if (!source || storePicture.of === hash) return;
  const text = JSON.stringify({ film: token, name: null, rows, columns, hash, spacing, aspect, values, picture: source });
  if (onTab((storage) => storage.setItem(TAB, text)) === null) forgetPicture();
  else storePicture.of = hash;
}

function forgetPicture() {
  storePicture.of = null;
  onTab((storage) => storage.removeItem(TAB));
}

// What the tab kept; to be asked for before the page's example is shown, which takes its place.
function keptPicture() {
  try {
    return JSON.parse(onTab((storage) => storage.getItem(TAB)));
  } catch {
    return null;
  }
}

// After the page was loaded anew: the film that was being edited in this tab, with its masks.
async function restoreTab(value) {
  if (!value || (shown.film && !shown.name)) return; // an example gives way
  const record = await storedEdits(value.hash);
  forgetPicture(); // it is kept again with the steps
  if (!record || record.rows !== value.rows || record.columns !== value.columns) return;
  await apply(value);
  const bits = replayed(record, value.rows * value.columns, value);
  Object.assign(shown, { opening: false, awaited: false }); // no model was asked
  shown.a = { title: say('byHand'), corrected: true, undecoded: false, beyond: record.own ?? {}, bits, maps: null, vertebrae: vertebraeIn(bits, value.columns), corners: [], outlines: [] };
  Object.assign(edits, record);
  refreshControls();
  redraw();
  announce(say('sayRestored'));
  editsChanged();
  root.dataset.loaded = Number(root.dataset.loaded) + 1;
}
