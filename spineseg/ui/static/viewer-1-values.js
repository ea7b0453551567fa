// The film's own values: how they come from the server, and how a window makes grey values of them. Until they are there,
// and where the server has forgotten the film, those of the 8-bit picture stand in.
const WAIT_FOR_MASKS_MS = 2000; // the model's masks come first on a slow line
const WINDOW_FUNCTIONS = { // 0..1. Source: DICOM PS3.3 C.11.2.1.2.1, C.11.2.1.3.2 and C.11.2.1.3.1
  LINEAR: (x, { level, width }) => (x <= level - 0.5 - (width - 1) / 2 ? 0 : x > level - 0.5 + (width - 1) / 2 ? 1 : (x - (level - 0.5)) / (width - 1) + 0.5),
  LINEAR_EXACT: (x, { level, width }) => Math.min(1, Math.max(0, (x - level) / width + 0.5)),
  SIGMOID: (x, { level, width }) => 1 / (1 + Math.exp((-4 * (x - level)) / width)),
};
const greyOf = (x, window) => WINDOW_FUNCTIONS[window.function](x, window);

// ---- from the server ----

const inflate = async (base64) => new Uint8Array(await new Response(new Blob([await bytesOf(base64)]).stream().pipeThrough(new DecompressionStream('deflate'))).arrayBuffer());

let incoming = null, wanted = 0; // incoming: { film, hash, codes, low, high, table, exact } of the film shown

function wantValues(delay) {
  clearTimeout(wanted);
  const { film, hash } = shown;
  root.dataset.values = 'loading';
  wanted = setTimeout(() => {
    incoming = { film, hash, codes: new Uint16Array(shown.rows * shown.columns) };
    document.dispatchEvent(new CustomEvent('spineseg:values-wanted', { detail: { film, hash } }));
  }, delay);
}

// The masks are there: the line is free.
function valuesNow() {
  if (shown.film && !shown.coded && !incoming) wantValues(0);
}

function forgetValues() {
  clearTimeout(wanted);
  incoming = null;
  delete root.dataset.values;
}

document.addEventListener('spineseg:values-part', ({ detail }) => {
  if (root.isConnected) queue = queue.then(() => takePart(detail)).catch((error) => console.error('viewer:', error));
});

async function takePart({ film, hash, part, parts, row, codes, low, high, table, exact }) {
  const into = incoming;
  if (!into || into.film !== film || into.hash !== hash) return; // of a film that is no longer shown
  if (codes === undefined) return valuesFailed();
  const bytes = await inflate(codes);
  restoreCodes(bytes, shown.columns, into.codes.subarray(row * shown.columns));
  if (part === 0) Object.assign(into, { low, high, exact, table: table && new Float32Array((await inflate(table)).buffer) });
  if (part + 1 < parts || into !== incoming) return;
  incoming = null;
  takeValues(into);
}

function takeValues(coded) {
  shown.coded = coded;
  shown.values = valuesOf(coded);
  shown.pictureValues = null;
  root.dataset.values = 'own';
  refreshWindow();
  redraw();
}

function valuesFailed() {
  incoming = null;
  root.dataset.values = 'picture';
  refreshWindow();
}

// Undoes `encoded` of values.py: each code from those above and to the left.
function restoreCodes(bytes, columns, codes) {
  const size = bytes.length / 2;
  for (let i = 0, x = 0; i < size; i++) {
    const folded = bytes[i] | (bytes[size + i] << 8), above = i < columns ? 0 : codes[i - columns], before = x ? codes[i - 1] : 0;
    codes[i] = ((above + before) >> 1) + ((folded >> 1) ^ -(folded & 1)); // modulo 65536
    if (++x === columns) x = 0;
  }
}

// at: the value that each code stands for, in float32 as the film has it.
function valuesOf(coded) {
  const { codes, low, high, table } = coded, both = Math.fround(low + high);
  const at = table ? table.slice() : Float32Array.from({ length: high - low + 1 }, (_, code) => low + code);
  if (shown.about.mirrored) at.forEach((value, code) => { at[code] = both - value; });
  return { levels: (coded.levels ??= [{ codes, columns: shown.columns, rows: shown.rows }]), at, exact: coded.exact, own: true };
}

function pictureValues() {
  if (shown.pictureValues || !shown.about) return shown.pictureValues;
  const { columns, rows, bitmap, about: { black, white } } = shown, canvas = new OffscreenCanvas(columns, rows), context = canvas.getContext('2d');
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, columns, rows), codes = new Uint8Array(columns * rows);
  for (let i = 0; i < codes.length; i++) codes[i] = data[4 * i];
  const at = Float32Array.from({ length: 256 }, (_, grey) => black + (grey / 255) * (white - black));
  return (shown.pictureValues = { levels: [{ codes, columns, rows }], at, exact: false, own: false });
}

// ---- to the screen ----

// The codes at half the size, n times: means of four.
function levelOf({ levels }, n) {
  while (levels.length <= n) levels.push(halved(levels.at(-1)));
  return levels[n];
}

function halved({ codes, columns, rows }) {
  const half = { columns: columns >> 1, rows: rows >> 1, codes: null };
  half.codes = new codes.constructor(half.columns * half.rows);
  for (let y = 0, at = 0; y < half.rows; y++)
    for (let x = 0, i = 2 * y * columns; x < half.columns; x++, i += 2) half.codes[at++] = (codes[i] + codes[i + 1] + codes[i + columns] + codes[i + columns + 1] + 2) >> 2;
  return half;
}

// The pixel of each code under the window.
function pixelsOf({ at }, window, inverted) {
  return Uint32Array.from(at, (value) => {
    const grey = Math.round(255 * greyOf(value, window)), seen = inverted ? 255 - grey : grey;
    return pixelOf([seen, seen, seen]);
  });
}

const painted = document.createElement('canvas');
let paper = null; // reused while the size stays

// Draws what is in view, at the size that is just fine enough for the screen; the context is in film coordinates.
function paintValues(context, values, window, inverted) {
  const size = view.scale * pixelRatio(), most = Math.log2(Math.min(shown.rows, shown.columns) / 32);
  const n = Math.max(0, Math.min(Math.floor(-Math.log2(size)), Math.floor(most))), level = levelOf(values, n), step = 2 ** n;
  const [left, top] = toFilm([0, 0]).map((place) => Math.max(0, Math.floor(place / step) - 1));
  const [right, bottom] = toFilm([stage.clientWidth, stage.clientHeight]).map((place, axis) => Math.min(axis ? level.rows : level.columns, Math.ceil(place / step) + 1));
  const width = right - left, height = bottom - top;
  if (width <= 0 || height <= 0) return;
  if (painted.width !== width || painted.height !== height || !paper) {
    painted.width = width; painted.height = height;
    paper = painted.getContext('2d').createImageData(width, height);
  }
  const pixels = new Uint32Array(paper.data.buffer), table = pixelsOf(values, window, inverted);
  for (let y = 0, to = 0; y < height; y++)
    for (let i = (top + y) * level.columns + left, end = i + width; i < end; i++) pixels[to++] = table[level.codes[i]];
  painted.getContext('2d').putImageData(paper, 0, 0);
  context.drawImage(painted, left * step, top * step, width * step, height * step);
}

// ---- distribution ----

// The values below which these shares (0..1) of the pixels of a box lie, of every n-th; `take(index)` chooses pixels.
function quantiles({ levels: [{ codes, columns }], at }, { left, top, right, bottom }, shares, take = () => true) {
  const counts = new Uint32Array(at.length), step = Math.max(1, Math.floor(Math.sqrt(((right - left) * (bottom - top)) / 400_000)));
  let total = 0;
  for (let y = top; y < bottom; y += step)
    for (let i = y * columns + left, end = y * columns + right; i < end; i += step) if (take(i)) { counts[codes[i]]++; total++; }
  const order = at[0] <= at.at(-1) ? counts.keys() : [...counts.keys()].toReversed(), found = [];
  let below = 0;
  for (const code of order) {
    below += counts[code];
    while (found.length < shares.length && below >= Math.max(1, shares[found.length] * total)) found.push(at[code]);
  }
  return total ? found : null;
}
