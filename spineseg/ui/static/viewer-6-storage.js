// What is kept in this browser of films whose masks a person changed: masks and steps by a digest of the film's pixels,
// for a week; and, until this tab is closed, the picture of the film shown. Nothing is kept of other films.
const KEPT_MS = 7 * 24 * 3600 * 1000, KEPT_FILMS = 30, TAB = 'spineseg-film';

const answer = (request) => new Promise((resolve, reject) => {
  request.addEventListener('success', () => resolve(request.result));
  request.addEventListener('error', () => reject(request.error));
});

async function database() {
  const request = indexedDB.open('spineseg', 1);
  request.addEventListener('upgradeneeded', () => request.result.createObjectStore('films', { keyPath: 'hash' }));
  return answer(request);
}

// Runs the action on the stored films. A browser that stores nothing, as in a private window, only forgets.
async function stored(mode, action) {
  let opened;
  try {
    opened = await database();
    return await action(opened.transaction('films', mode).objectStore('films'));
  } catch {
    return null;
  } finally {
    opened?.close();
  }
}

const storedEdits = (hash) => stored('readonly', (films) => answer(films.get(hash)));

async function storeEdits() {
  const { hash, model, start, steps, at, beyond } = edits;
  if (!hash) return;
  if (!steps.length) return stored('readwrite', (films) => answer(films.delete(hash)));
  await stored('readwrite', (films) => answer(films.put({ hash, model, start, steps, at, beyond, rows: shown.rows, columns: shown.columns, saved: Date.now() })));
  root.dataset.stored = Number(root.dataset.stored ?? 0) + 1;
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

// The picture is kept as it came, in `shown.source`. One that is too large for the browser's limit is not kept.
function storePicture() {
  const { film: token, rows, columns, hash, spacing, aspect, source, about: values } = shown;
  if (!source || storePicture.of === hash) return;
  try {
    sessionStorage.setItem(TAB, JSON.stringify({ film: token, name: null, rows, columns, hash, spacing, aspect, values, picture: source }));
    storePicture.of = hash;
  } catch {
    forgetPicture();
  }
}

function forgetPicture() {
  storePicture.of = null;
  sessionStorage.removeItem(TAB);
}

// After the page was loaded anew: the film that was being edited in this tab, with its masks.
async function restoreTab() {
  const kept = sessionStorage.getItem(TAB);
  if (!kept || (shown.film && !shown.name)) return; // an example gives way
  const value = JSON.parse(kept), record = await storedEdits(value.hash);
  if (!record) return forgetPicture();
  await apply(value);
  const bits = replayed(record, value.rows * value.columns, value);
  Object.assign(shown, { opening: false, awaited: false }); // no model was asked
  shown.a = { title: say('byHand'), corrected: true, undecoded: false, bits, maps: null, vertebrae: vertebraeIn(bits, value.columns), corners: [], outlines: [] };
  Object.assign(edits, record);
  refreshControls();
  redraw();
  announce(say('sayRestored'));
  editsChanged();
  root.dataset.loaded = Number(root.dataset.loaded) + 1;
}
