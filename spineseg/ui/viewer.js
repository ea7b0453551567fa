// The viewer. Two canvases as large as the stage: the film, and the overlays over it. Each vertebra is a small coloured
// layer cut to its own box, so a switch redraws a few small pictures and asks the server nothing.
const find = (selector) => element.querySelector(selector);
const root = find('.viewer'), stage = find('.stage'), legend = find('.legend'), readout = find('.readout'), hint = find('.hint');
const filmCanvas = find('.film'), overlayCanvas = find('.overlay'), scratch = document.createElement('canvas');
const BACKGROUND = props.names.length - 1;
const NAMED = new Map(); // token of an upload -> the file's own name, in memory only

const shown = { film: null, name: 'masks', rows: 0, columns: 0, bitmap: null, bits: null, layers: [] };
const view = { scale: 1, x: 0, y: 0, fitted: true };
const on = props.names.map((_, k) => k !== BACKGROUND);

// ---- what is shown ----

const bytesOf = (uri) => fetch(uri);
const unzip = async (base64) => {
  const packed = await bytesOf('data:application/octet-stream;base64,' + base64);
  return new Uint8Array(await new Response(packed.body.pipeThrough(new DecompressionStream('gzip'))).arrayBuffer());
};

let latest = 0;
async function load() {
  const value = props.value;
  if (value && value.keep) return;
  const began = performance.now();
  if (!value) return void (++latest, clear());
  if (value.masks && value.film !== shown.film) return; // masks of a film that was left meanwhile
  const turn = ++latest;
  const [bitmap, bits] = await Promise.all([
    bytesOf(value.picture).then((answer) => answer.blob()).then(createImageBitmap),
    value.masks ? unzip(value.masks) : null,
  ]);
  if (turn !== latest) return; // a newer film came while this one was unpacked
  const same = value.film === shown.film;
  shown.bitmap?.close();
  Object.assign(shown, { film: value.film, rows: value.rows, columns: value.columns, bitmap, bits });
  shown.name = value.name || stem(NAMED.get(value.film)) || 'masks';
  shown.layers = bits ? cut(bits, value.columns) : [];
  if (value.name) document.dispatchEvent(new CustomEvent('spineseg:example'));
  describe(value);
  same && !view.fitted ? redraw() : fit();
  // on a phone the viewer lies below the button that was pressed
  if (bits && stage.getBoundingClientRect().top > 0.6 * innerHeight) root.scrollIntoView({ behavior: 'smooth' });
  root.dataset.loaded = Number(root.dataset.loaded) + 1;
  root.dataset.masks = bits ? 'yes' : 'no';
  root.dataset.loadMs = Math.round(performance.now() - began);
}

function clear() {
  Object.assign(shown, { film: null, bitmap: null, bits: null, layers: [], rows: 0, columns: 0 });
  describe({});
  root.dataset.masks = 'no';
  redraw();
}

const stem = (name) => name && name.replace(/\.(dcm|dicom|ima)$/i, '');

function describe(value) {
  hint.hidden = Boolean(shown.bitmap);
  readout.textContent = '';
  find('.download').disabled = !shown.bits;
  props.names.forEach((name, k) => {
    const button = legend.children[k];
    const absent = Boolean(shown.bits) && k !== BACKGROUND && !shown.layers[k];
    button.disabled = !shown.bits || absent;
    button.classList.toggle('absent', absent);
    const sure = value.confidence && k !== BACKGROUND && !absent ? `, confidence ${Math.round(100 * value.confidence[k])} %` : '';
    button.title = absent ? `${name}: not found` : `${name} on or off (${k + 1})${sure}`;
  });
}

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
  return boxes.map((box, k) => (box.count ? paintBox(box, k, bits, columns) : null));
}

function paintBox(box, k, bits, columns) {
  const width = box.right - box.left + 1, height = box.bottom - box.top + 1;
  const canvas = document.createElement('canvas');
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(props.colours[k].slice(at, at + 2), 16));
  const colour = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0; // little endian, as every browser's machine
  for (let y = 0; y < height; y++) {
    const from = (y + box.top) * columns + box.left;
    for (let x = 0; x < width; x++) if ((bits[from + x] >> k) & 1) pixels[y * width + x] = colour;
  }
  context.putImageData(image, 0, 0);
  return { canvas, left: box.left, top: box.top, x: box.x / box.count, y: box.y / box.count };
}

// ---- drawing ----

let waiting = { film: false, overlay: false, frame: 0 };
function redraw(film = true) {
  waiting.film ||= film;
  waiting.overlay = true;
  waiting.frame ||= requestAnimationFrame(() => {
    const { film: both } = waiting;
    waiting = { film: false, overlay: false, frame: 0 };
    const began = performance.now();
    if (both) drawFilm();
    drawOverlay();
    root.dataset.drawMs = (performance.now() - began).toFixed(1);
    root.dataset.drawn = Number(root.dataset.drawn || 0) + 1;
  });
}

function ready(canvas) {
  const dots = window.devicePixelRatio || 1;
  const width = Math.round(stage.clientWidth * dots), height = Math.round(stage.clientHeight * dots);
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext('2d');
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = 1;
  context.globalCompositeOperation = 'source-over';
  context.clearRect(0, 0, width, height);
  context.setTransform(view.scale * dots, 0, 0, view.scale * dots, view.x * dots, view.y * dots);
  context.imageSmoothingEnabled = view.scale * dots < 3; // closer than this, show the pixels as they are
  context.imageSmoothingQuality = 'medium';
  return context;
}

function drawFilm() {
  const context = ready(filmCanvas);
  if (shown.bitmap) context.drawImage(shown.bitmap, 0, 0);
}

function drawOverlay() {
  const context = ready(overlayCanvas);
  if (!shown.bits) return;
  const opacity = find('.opacity').value / 100, outline = find('.outline').checked;
  const drawn = shown.layers.map((layer, k) => on[k] && layer);
  if (on[BACKGROUND]) paste(context, backdrop(), opacity);
  if (outline) drawn.forEach((layer) => layer && paste(context, edge(layer), 1));
  else {
    context.globalAlpha = opacity;
    drawn.forEach((layer) => layer && context.drawImage(layer.canvas, layer.left, layer.top));
  }
  context.globalAlpha = 1;
  if (find('.names').checked) drawn.forEach((layer, k) => layer && write(context, layer, props.names[k]));
}

function paste(context, canvas, opacity) {
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = opacity;
  context.drawImage(canvas, 0, 0);
  context.restore();
}

// The background is the film less every vertebra, switched on or not.
function backdrop() {
  const context = ready(scratch);
  context.fillStyle = props.colours[BACKGROUND];
  context.fillRect(0, 0, shown.columns, shown.rows);
  context.globalCompositeOperation = 'destination-out';
  for (const layer of shown.layers) if (layer) context.drawImage(layer.canvas, layer.left, layer.top);
  return scratch;
}

// The layer shifted in eight directions, less itself: a line of the same width at every zoom.
function edge(layer) {
  const context = ready(scratch), width = 2 / view.scale;
  for (let turn = 0; turn < 8; turn++)
    context.drawImage(layer.canvas, layer.left + width * Math.cos((turn * Math.PI) / 4), layer.top + width * Math.sin((turn * Math.PI) / 4));
  context.globalCompositeOperation = 'destination-out';
  context.drawImage(layer.canvas, layer.left, layer.top);
  return scratch;
}

function write(context, layer, name) {
  context.save();
  const dots = window.devicePixelRatio || 1;
  context.setTransform(dots, 0, 0, dots, 0, 0);
  context.font = '600 14px system-ui, sans-serif';
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.lineWidth = 3.5;
  context.lineJoin = 'round';
  context.strokeStyle = '#000c';
  context.fillStyle = '#fff';
  const x = view.x + (layer.x + 0.5) * view.scale, y = view.y + (layer.y + 0.5) * view.scale;
  context.strokeText(name, x, y);
  context.fillText(name, x, y);
  context.restore();
}

// ---- moving ----

function fit() {
  view.fitted = true;
  if (shown.columns) {
    view.scale = Math.min(stage.clientWidth / shown.columns, stage.clientHeight / shown.rows);
    view.x = (stage.clientWidth - shown.columns * view.scale) / 2;
    view.y = (stage.clientHeight - shown.rows * view.scale) / 2;
  }
  stage.classList.remove('zoomed');
  redraw();
}

function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  if (!shown.columns) return;
  const least = 0.5 * Math.min(stage.clientWidth / shown.columns, stage.clientHeight / shown.rows);
  const scale = Math.min(40, Math.max(least, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  moved();
}

function move(dx, dy) {
  view.x += dx; view.y += dy;
  moved();
}

function moved() {
  // some of the film always stays in sight
  view.x = Math.min(stage.clientWidth - 40, Math.max(40 - shown.columns * view.scale, view.x));
  view.y = Math.min(stage.clientHeight - 40, Math.max(40 - shown.rows * view.scale, view.y));
  view.fitted = false;
  stage.classList.add('zoomed');
  redraw();
}

const touches = new Map();
const place = (event) => { const box = stage.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const spread = () => { const [[ax, ay], [bx, by]] = [...touches.values()]; return [Math.hypot(ax - bx, ay - by), (ax + bx) / 2, (ay + by) / 2]; };

stage.addEventListener('wheel', (event) => {
  if (!shown.columns) return;
  event.preventDefault();
  const step = event.deltaMode === 1 ? 18 : 1; // Firefox counts lines
  zoom(Math.exp(-event.deltaY * step * 0.0015), ...place(event));
}, { passive: false });

stage.addEventListener('pointerdown', (event) => {
  if (!shown.columns || event.button !== 0 || event.target.closest('button')) return;
  stage.setPointerCapture(event.pointerId);
  touches.set(event.pointerId, place(event));
  stage.classList.add('held');
});

stage.addEventListener('pointermove', (event) => {
  const at = place(event);
  read(at);
  if (!touches.has(event.pointerId)) return;
  const before = touches.size === 2 ? spread() : touches.get(event.pointerId);
  touches.set(event.pointerId, at);
  if (touches.size === 2) {
    const now = spread();
    move(now[1] - before[1], now[2] - before[2]);
    zoom(now[0] / Math.max(1, before[0]), now[1], now[2]);
  } else if (event.pointerType !== 'touch' || !view.fitted) move(at[0] - before[0], at[1] - before[1]);
});

for (const kind of ['pointerup', 'pointercancel', 'pointerleave'])
  stage.addEventListener(kind, (event) => {
    touches.delete(event.pointerId);
    if (!touches.size) stage.classList.remove('held');
    if (kind === 'pointerleave') readout.textContent = '';
  });
stage.addEventListener('dblclick', (event) => event.target.closest('button') || fit());

function read([x, y]) {
  const column = Math.floor((x - view.x) / view.scale), row = Math.floor((y - view.y) / view.scale);
  if (!(row >= 0 && column >= 0 && row < shown.rows && column < shown.columns)) return void (readout.textContent = '');
  const value = shown.bits ? shown.bits[row * shown.columns + column] : null;
  const found = value === null ? '' : value === 0 ? props.names[BACKGROUND] : props.names.filter((_, k) => k < BACKGROUND && (value >> k) & 1).join(' + ');
  readout.textContent = `row ${row}  column ${column}  ${found}`;
}

// ---- switches and keys ----

props.names.forEach((name, k) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = name;
  button.dataset.channel = k;
  button.style.setProperty('--colour', props.colours[k]);
  button.setAttribute('role', 'switch');
  button.setAttribute('aria-checked', on[k]);
  button.addEventListener('click', () => turn(k, !on[k]));
  legend.append(button);
});

function turn(k, state) {
  on[k] = state;
  legend.children[k].setAttribute('aria-checked', state);
  redraw(false);
}

function turnAll() {
  const state = !on.slice(0, BACKGROUND).every(Boolean);
  for (let k = 0; k < BACKGROUND; k++) turn(k, state);
}

function windowed() {
  filmCanvas.style.filter = `brightness(${find('.brightness').value}%) contrast(${find('.contrast').value}%)`;
}

function flip(selector) {
  find(selector).checked = !find(selector).checked;
  redraw(false);
}

const actions = {
  closer: () => zoom(1.4), farther: () => zoom(1 / 1.4), fit, download,
  window: () => { find('.brightness').value = find('.contrast').value = 100; windowed(); },
};
const keys = {
  '+': () => zoom(1.25), '=': () => zoom(1.25), '-': () => zoom(0.8), f: fit, 0: fit, a: turnAll, o: () => flip('.outline'), n: () => flip('.names'),
  ArrowLeft: () => move(40, 0), ArrowRight: () => move(-40, 0), ArrowUp: () => move(0, 40), ArrowDown: () => move(0, -40),
};
props.names.forEach((_, k) => (keys[k + 1] = () => legend.children[k].disabled || turn(k, !on[k])));

element.addEventListener('click', (event) => actions[event.target.closest('[data-do]')?.dataset.do]?.());
stage.addEventListener('keydown', (event) => {
  const act = !event.ctrlKey && !event.metaKey && !event.altKey && event.target === stage && keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
element.addEventListener('input', (event) => {
  if (event.target.matches('.brightness, .contrast')) windowed();
  else redraw(false);
});

// ---- files ----

document.addEventListener('spineseg:named', (event) => NAMED.set(event.detail.token, event.detail.name));
for (const kind of ['dragover', 'dragleave', 'drop'])
  stage.addEventListener(kind, (event) => {
    event.preventDefault();
    stage.classList.toggle('over', kind === 'dragover');
    if (kind === 'drop' && event.dataTransfer.files.length)
      document.dispatchEvent(new CustomEvent('spineseg:dropped', { detail: event.dataTransfer.files[0] }));
  });

// The same bytes as numpy.save of the uint8 array (rows, columns, 7): NumPy format 1.0, whose header leaves room for a
// first axis of 21 digits and ends at a multiple of 64 bytes.
function npy() {
  const { rows, columns, bits } = shown, channels = props.names.length;
  let header = `{'descr': '|u1', 'fortran_order': False, 'shape': (${rows}, ${columns}, ${channels}), }` + ' '.repeat(21 - String(rows).length);
  header += ' '.repeat(64 - ((10 + header.length + 1) % 64)) + '\n';
  const bytes = new Uint8Array(10 + header.length + bits.length * channels);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  for (let i = 0; i < header.length; i++) bytes[10 + i] = header.charCodeAt(i);
  for (let i = 0, at = 10 + header.length; i < bits.length; i++, at += channels) {
    const value = bits[i];
    if (value === 0) bytes[at + BACKGROUND] = 1;
    else for (let k = 0; k < BACKGROUND; k++) bytes[at + k] = (value >> k) & 1;
  }
  return bytes;
}

function download() {
  if (!shown.bits) return;
  const began = performance.now();
  const url = URL.createObjectURL(new Blob([npy()], { type: 'application/octet-stream' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = `${shown.name}.npy`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  root.dataset.npyMs = Math.round(performance.now() - began);
}

watch('value', load);
new ResizeObserver(() => (view.fitted ? fit() : redraw())).observe(stage);
describe({});
load();
