// The viewer, part 1 of 5: what it holds. A value from the server is a film, or what changed about the film shown:
// `a` (the model's masks), `b` (what they are compared with), `lines`. Everything else happens here in the browser.
const find = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];
const root = find('.viewer'), stage = find('.stage'), legend = find('.legend'), readout = find('.readout');
const BACKGROUND = props.names.length - 1;

const EMPTY = { film: null, name: null, rows: 0, columns: 0, bitmap: null, a: null, b: null, lines: [] };
const shown = { ...EMPTY };
const view = { scale: 1, x: 0, y: 0, fitted: true, mode: 'a', split: null, blink: 'a' };
const isRaw = () => view.mode === 'raw' || view.mode === 'rawb';
const rawShown = () => shown[view.mode === 'rawb' ? 'b' : 'a']?.raw;
// How much brighter than it is probable a channel is drawn: a model without rules need not come above 0.5 anywhere, and
// so that it is seen at all its brightest value is drawn as bright as can be (and said in figures).
const gainOf = (raw) => (raw === shown.a?.raw ? shown.a : shown.b)?.undecoded ? 1 / raw.most : 1;
const on = props.names.map((_, k) => k !== BACKGROUND);

const unzip = async (base64) => {
  const packed = await fetch('data:application/octet-stream;base64,' + base64);
  return new Uint8Array(await new Response(packed.body.pipeThrough(new DecompressionStream('gzip'))).arrayBuffer());
};
const pictureOf = async (uri) => createImageBitmap(await (await fetch(uri)).blob());
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const packed = ([red, green, blue], alpha = 255) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0; // little endian

// Values are taken in one after the other: masks may arrive while their film is still being unpacked.
let turn = Promise.resolve();
function load() {
  const value = props.value;
  if (value && value.keep) return;
  turn = turn.then(() => take(value)).catch((error) => console.error('viewer:', error));
}

async function take(value) {
  if (!value) return clear();
  if (value.file) return saveFile(value);
  const began = performance.now(), fresh = 'picture' in value, same = value.film === shown.film;
  if (!fresh && !same) return; // of a film that was left meanwhile
  const [bitmap, a, b] = await Promise.all([fresh ? pictureOf(value.picture) : null, layerOf(value, 'a'), layerOf(value, 'b')]);
  if (fresh) {
    shown.bitmap?.close();
    Object.assign(shown, EMPTY, { film: value.film, name: value.name, rows: value.rows, columns: value.columns, bitmap });
    document.dispatchEvent(new CustomEvent('spineseg:fresh'));
    if (value.name) document.dispatchEvent(new CustomEvent('spineseg:example'));
  }
  if ('a' in value) shown.a = a;
  if ('b' in value) shown.b = b;
  if ('lines' in value) shown.lines = value.lines;
  shown.difference = null;
  if (a?.undecoded && a.raw && view.mode === 'a') view.mode = 'raw'; // its masks may well be empty
  if (fresh && !same) view.split = null;
  settle();
  fresh && !(same && !view.fitted) ? fit() : redraw();
  // on a phone the viewer lies below the button that was pressed
  if (a && stage.getBoundingClientRect().top > 0.6 * innerHeight) root.scrollIntoView({ behavior: 'smooth' });
  root.dataset.loadMs = Math.round(performance.now() - began);
  root.dataset.loaded = Number(root.dataset.loaded) + 1;
}

function clear() {
  shown.bitmap?.close();
  Object.assign(shown, EMPTY);
  settle();
  redraw();
}

// One set of masks, unpacked and cut into its vertebrae; raw channels that did not change are kept.
async function layerOf(value, side) {
  const sent = value[side];
  if (!sent) return null;
  const columns = 'picture' in value ? value.columns : shown.columns;
  const [bits, raw] = await Promise.all([unzip(sent.masks), sent.raw ? unzip(sent.raw.values) : null]);
  const kept = sent.raw === undefined ? shown[side]?.raw ?? null : null;
  const { title, corrected, undecoded } = sent;
  return { title, corrected, undecoded, bits, bones: cut(bits, columns), raw: raw ? channelsOf(sent.raw, raw) : kept };
}

// The network's channels with their brightest value (0..1), and what has been drawn of them.
const channelsOf = (sent, values) => ({ ...sent, values, most: values.reduce((most, value) => Math.max(most, value), 1) / 255, drawn: [] });

// One pass finds the box and centre of every vertebra, a second one colours the pixels of each box.
function cut(bits, columns) {
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
  return boxes.map((box, k) => (box.count ? paintBone(box, k, bits, columns) : null));
}

function paintBone(box, k, bits, columns) {
  const width = box.right - box.left + 1, height = box.bottom - box.top + 1;
  const canvas = document.createElement('canvas');
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  const colour = packed(rgb(props.colours[k]));
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && ((bits[(y + box.top) * columns + x + box.left] >> k) & 1) === 1;
  const border = new Path2D(); // along the pixels' edges, in the film's own coordinates, a straight run at a time
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
