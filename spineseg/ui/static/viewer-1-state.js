// The viewer's state. A value from the server is a film, or what changed about the film shown: `a` (the model's masks),
// `sides` (what is compared, A and B), `lines` (measurement lines). All else happens in the browser, where a person
// may also change the masks (viewer-5 to viewer-8).
const find = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];
const root = find('.viewer'), stage = find('.stage'), legend = find('.legend'), readout = find('.readout');
const BACKGROUND = props.names.length - 1;

const EMPTY = { film: null, name: null, rows: 0, columns: 0, hash: null, source: null, bitmap: null, tall: 1, about: null, coded: null, values: null, pictureValues: null, a: null, sides: null, lines: [], opening: false, awaited: false };
const OWN = '/shown'; // a side that holds the film's own masks, as they are here; see SHOWN in ui/compare.py
const freshSides = () => ({ A: OWN, B: null });
const shown = { ...EMPTY, sides: freshSides() };
const view = { scale: 1, x: 0, y: 0, fitted: true, mode: 'a', divider: null, blink: 'A', window: null, preset: null };
const sideOf = (name) => (shown.sides[name] === OWN ? shown.a : shown.sides[name]);
const comparable = () => Boolean(sideOf('A') && sideOf('B') && sideOf('A') !== sideOf('B'));
const MAPS = { maps: () => shown.a, mapsA: () => sideOf('A'), mapsB: () => sideOf('B') };
const showsMaps = () => view.mode in MAPS;
const shownMaps = () => MAPS[view.mode]?.()?.maps;
// Factor by which probabilities are brightened. Those of an undecoded model may stay below 0.5 everywhere: their largest
// value is drawn at full brightness, and stated in figures.
const gainOf = (maps) => ([shown.a, sideOf('A'), sideOf('B')].find((layer) => layer?.maps === maps)?.undecoded ? 1 / maps.most : 1);
const visible = props.names.map((_, k) => k !== BACKGROUND);

const gunzip = async (base64) => {
  const packed = await fetch('data:application/octet-stream;base64,' + base64);
  return new Uint8Array(await new Response(packed.body.pipeThrough(new DecompressionStream('gzip'))).arrayBuffer());
};
const pictureOf = async (uri) => createImageBitmap(await (await fetch(uri)).blob());
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const pixelOf = ([red, green, blue], alpha = 255) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0; // little endian

// Values are applied one after the other: masks may arrive while their film is still being decoded.
let queue = Promise.resolve();
function enqueue() {
  const { value } = props;
  queue = queue.then(() => apply(value)).catch((error) => console.error('viewer:', error));
}

async function apply(value) {
  if (!value) return clear();
  if (value.file) return saveFile(value);
  if (value.collected) return collected(value);
  if (value.lost) return value.film === shown.film && reopen();
  if ('forgotten' in value) return answered(value);
  const began = performance.now(), fresh = 'picture' in value, same = value.film === shown.film;
  const again = fresh && value.hash === shown.hash && edits.steps.length > 0; // the same film, which is being edited
  if (!fresh && !same) return; // of a film that is no longer shown
  const width = fresh ? value.columns : shown.columns, sent = Object.entries(value.sides ?? {}), before = comparable();
  const [bitmap, a, sides] = await Promise.all([
    fresh ? pictureOf(value.picture) : null, layerOf(value.a, width, shown.a?.maps),
    Promise.all(sent.map(async ([name, side]) => [name, side === OWN ? OWN : await layerOf(side, width)])),
  ]);
  if (fresh) {
    const { film: token, name, rows, columns, hash, spacing, aspect, noSegmentation, picture: source, values: about = null } = value;
    const coded = hash === shown.hash ? shown.coded : null, sameWindow = coded && about?.mirrored === shown.about?.mirrored;
    shown.bitmap?.close();
    if (!again) toggleEdit(false);
    forgetValues();
    if (hash !== edits.hash) forgetPicture();
    if (hash !== shown.hash) resetView();
    Object.assign(shown, again ? {} : EMPTY, { sides: freshSides() }, { film: token, name, rows, columns, hash, spacing, aspect, noSegmentation, source, bitmap, about, opening: !same, awaited: true });
    Object.assign(shown, { tall: spacing ? spacing[0] / spacing[1] : aspect, coded: null, values: null, pictureValues: null });
    Object.assign(root.dataset, { film: token, example: name ?? '' });
    document.dispatchEvent(new CustomEvent('spineseg:film-changed', { detail: { film: token, example: name, name: NAMED.get(token)?.name } }));
    if (!same && !again) clearRulers();
    if (!sameWindow) resetWindow();
    if (coded) takeValues(coded);
    else wantValues(WAIT_FOR_MASKS_MS);
  }
  if ('a' in value) {
    const { opening } = shown;
    if (edit.gesture) cancelEdit();
    Object.assign(shown, { a, opening: false, awaited: false });
    if (a) await masksArrived(value.corners, opening);
    valuesNow();
  }
  Object.assign(shown.sides, Object.fromEntries(sides));
  if ('lines' in value) shown.lines = value.lines;
  if ('noSegmentation' in value) shown.noSegmentation = value.noSegmentation;
  shown.difference = null;
  if (a?.undecoded && a.maps && view.mode === 'a') view.mode = 'maps'; // its masks may well be empty
  if (comparable() && !before && view.mode === 'a' && !edit.on) view.mode = 'swipe';
  if (fresh && !same && !again) view.divider = null;
  refreshControls();
  if (fresh && !((same || again) && !view.fitted)) fit();
  else redraw();
  if (fresh && !same) bringIntoSight();
  root.dataset.loadMs = Math.round(performance.now() - began);
  root.dataset.loaded = Number(root.dataset.loaded) + 1;
}

// On a phone the picture lies above or below the button that was pressed.
function bringIntoSight() {
  const { top, bottom } = stage.getBoundingClientRect();
  if (top > 0.6 * innerHeight || bottom < 0.4 * innerHeight) stage.scrollIntoView({ behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth', block: 'center' });
}

function clear() {
  if (edits.steps.length && shown.a) return changedMeanwhile(); // the server has forgotten the film, this tab has not
  shown.bitmap?.close();
  forgetValues();
  Object.assign(shown, EMPTY, { sides: freshSides() });
  resetWindow();
  clearRulers();
  root.dataset.film = '';
  refreshControls();
  redraw();
}

// One set of masks, split into vertebrae; probability maps that are not sent again are those that are there.
async function layerOf(sent, columns, there = null) {
  if (!sent) return null;
  const [bits, maps] = await Promise.all([gunzip(sent.masks), sent.maps ? gunzip(sent.maps.values) : null]);
  const kept = sent.maps === undefined ? there : null;
  const { title, corrected, undecoded, beyond } = sent;
  return { title, corrected, undecoded, beyond, bits, corners: [], outlines: [], vertebrae: vertebraeIn(bits, columns), maps: maps ? mapsOf(sent.maps, maps) : kept };
}

// Probability maps with their largest value (0..1), and pictures drawn of them so far.
const mapsOf = (sent, values) => ({ ...sent, values, most: values.reduce((most, value) => Math.max(most, value), 1) / 255, drawn: [] });

// A first pass finds the box and centroid of each vertebra, a second one colours the pixels of each box.
function vertebraeIn(bits, columns) {
  const boxes = Array.from({ length: BACKGROUND }, () => ({ left: 1e9, right: -1, top: 1e9, bottom: -1, x: 0, y: 0, count: 0 }));
  for (let i = 0; i < bits.length; i++) {
    if (bits[i] === 0) continue;
    const y = (i / columns) | 0, x = i - y * columns;
    for (let k = 0; k < BACKGROUND; k++) {
      if (!((bits[i] >> k) & 1)) continue;
      const box = boxes[k];
      if (x < box.left) box.left = x;
      if (x > box.right) box.right = x;
      if (y < box.top) box.top = y;
      box.bottom = y;
      box.x += x; box.y += y; box.count++;
    }
  }
  return boxes.map((box, k) => (box.count ? drawVertebra(box, k, bits, columns) : null));
}

function drawVertebra(box, k, bits, columns) {
  const width = box.right - box.left + 1, height = box.bottom - box.top + 1;
  const canvas = document.createElement('canvas');
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  const colour = pixelOf(rgb(props.colours[k]));
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && ((bits[(y + box.top) * columns + x + box.left] >> k) & 1) === 1;
  const border = new Path2D(); // along pixel edges, in film coordinates, one straight run at a time
  const run = (x, y, toX, toY) => { border.moveTo(box.left + x, box.top + y); border.lineTo(box.left + toX, box.top + toY); };
  const down = new Int32Array(width + 1).fill(-1); // where the vertical run of each column began
  for (let y = 0; y <= height; y++) {
    let right = -1; // where this row's horizontal run began
    for (let x = 0; x <= width; x++) {
      const here = inside(x, y), above = here !== inside(x, y - 1), before = here !== inside(x - 1, y);
      if (here) pixels[y * width + x] = colour;
      if (above && right < 0) right = x;
      if (!above && right >= 0) { run(right, y, x, y); right = -1; }
      if (before && down[x] < 0) down[x] = y;
      if (!before && down[x] >= 0) { run(x, down[x], x, y); down[x] = -1; }
    }
  }
  context.putImageData(image, 0, 0);
  return { canvas, border, left: box.left, top: box.top, x: box.x / box.count, y: box.y / box.count };
}
