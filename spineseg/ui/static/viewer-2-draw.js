// The viewer's drawing: two canvases as large as the stage, one for the film and one for the overlay. Each vertebra is a
// coloured picture of its own box, so that a toggle redraws a few small pictures without the server.
const filmCanvas = find('.film'), overlayCanvas = find('.overlay'), scratch = document.createElement('canvas');

let pending = { film: false, frame: 0 };
function redraw(film = true) {
  pending.film ||= film;
  pending.frame ||= requestAnimationFrame(() => {
    const { film: both } = pending;
    pending = { film: false, frame: 0 };
    const began = performance.now();
    if (both) drawFilm();
    drawOverlay();
    root.dataset.drawMs = (performance.now() - began).toFixed(1);
    root.dataset.drawn = Number(root.dataset.drawn || 0) + 1;
  });
}

const pixelRatio = () => window.devicePixelRatio || 1;

// From here on the context is in film coordinates. Pixels that are not square on the film are drawn as they are on it.
function onFilm(context) {
  const size = view.scale * pixelRatio();
  context.setTransform(size, 0, 0, size * shown.tall, view.x * pixelRatio(), view.y * pixelRatio());
}

// The canvas, cleared, in film coordinates.
function cleared(canvas) {
  const width = Math.round(stage.clientWidth * pixelRatio()), height = Math.round(stage.clientHeight * pixelRatio());
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext('2d');
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = 1;
  context.globalCompositeOperation = 'source-over';
  context.clearRect(0, 0, width, height);
  onFilm(context);
  context.imageSmoothingEnabled = view.scale * pixelRatio() < 3; // closer than this, show the pixels as they are
  context.imageSmoothingQuality = 'medium';
  return context;
}

function drawFilm() {
  const context = cleared(filmCanvas);
  if (!shown.bitmap) return;
  const values = shown.values ?? (shown.about && !isDefault() ? pictureValues() : null);
  if (values) paintValues(context, values, view.window, inverted());
  else context.drawImage(shown.bitmap, 0, 0);
}

function drawOverlay() {
  const context = cleared(overlayCanvas);
  if (!shown.bitmap) return;
  const { mode } = view;
  if (showsMaps()) drawMaps(context, shownMaps());
  else if (mode === 'difference') drawDifference(context);
  else if (mode === 'contours') drawContours(context);
  else if (mode === 'swipe') {
    drawClipped(context, 0, view.divider, () => drawLayer(context, sideOf('A')));
    drawClipped(context, view.divider, 1, () => drawLayer(context, sideOf('B')));
  } else if (mode === 'a') drawMasks(context, shown.a);
  else drawLayer(context, sideOf({ blink: view.blink, sideA: 'A', sideB: 'B' }[mode]));
  drawLines(context);
  drawEditor(context);
  drawRulers(context);
}

function drawClipped(context, from, to, draw) {
  context.save();
  context.setTransform(pixelRatio(), 0, 0, pixelRatio(), 0, 0);
  context.beginPath();
  context.rect(from * stage.clientWidth, 0, (to - from) * stage.clientWidth, stage.clientHeight);
  context.clip();
  onFilm(context);
  draw();
  context.restore();
}

// One of the two compared. An undecoded model is shown by its probability maps, as its masks may be empty.
function drawLayer(context, layer) {
  if (layer?.undecoded && layer.maps) drawMaps(context, layer.maps);
  else drawMasks(context, layer);
}

function drawMasks(context, layer) {
  if (!layer) return;
  const opacity = (find('.opacity').value / 100) * (edit.on ? 0.5 : 1), vertebrae = layer.vertebrae.map((vertebra, k) => visible[k] && vertebra);
  if (visible[BACKGROUND]) drawUnscaled(context, backdrop(layer), opacity);
  if (root.dataset.style === 'outline') vertebrae.forEach((vertebra, k) => vertebra && strokeTwice(context, vertebra.border, props.colours[k], 2.2));
  else {
    context.globalAlpha = opacity;
    vertebrae.forEach((vertebra) => vertebra && context.drawImage(vertebra.canvas, vertebra.left, vertebra.top));
    context.globalAlpha = 1;
  }
  if (find('.names').checked && !edit.gesture) drawNames(context, layer);
}

const drawNames = (context, layer) => layer.vertebrae.forEach((vertebra, k) => vertebra && visible[k] && drawText(context, vertebra.x + 0.5, vertebra.y + 0.5, props.names[k], nameSize(vertebra)));
const nameSize = (vertebra) => Math.max(9, Math.min(14, 0.45 * vertebra.canvas.height * view.scale)); // leaves a small body to be seen

// A line of constant width on the screen, with dark edges so that it is seen on white bone.
function strokeTwice(context, path, colour, width) {
  const onScreen = new Path2D();
  onScreen.addPath(path, context.getTransform());
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.lineCap = 'square';
  for (const [style, extra] of [['#0009', 1.6], [colour, 0]]) {
    context.strokeStyle = style;
    context.lineWidth = (width + extra) * pixelRatio();
    context.stroke(onScreen);
  }
  context.restore();
}

function drawUnscaled(context, canvas, opacity) {
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = opacity;
  context.drawImage(canvas, 0, 0);
  context.restore();
}

// The background is the film without any vertebra, visible or not.
function backdrop(layer) {
  const context = cleared(scratch);
  context.fillStyle = props.colours[BACKGROUND];
  context.fillRect(0, 0, shown.columns, shown.rows);
  context.globalCompositeOperation = 'destination-out';
  for (const vertebra of layer.vertebrae) if (vertebra) context.drawImage(vertebra.canvas, vertebra.left, vertebra.top);
  return scratch;
}

// Text of constant size on the screen, at (x, y) of the film.
function drawText(context, x, y, text, size = 14) {
  context.save();
  context.setTransform(pixelRatio(), 0, 0, pixelRatio(), 0, 0);
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.lineWidth = size / 4;
  context.lineJoin = 'round';
  context.strokeStyle = '#000c';
  context.fillStyle = '#fff';
  context.strokeText(text, ...toStage([x, y]));
  context.fillText(text, ...toStage([x, y]));
  context.restore();
}

// ---- what differs between A and B ----

const colourOf = (kind) => props.differences.find(({ name }) => name === kind).colour;
const switchedOn = () => visible.reduce((bits, on, k) => (on && k !== BACKGROUND ? bits | (1 << k) : bits), 0);

function drawDifference(context) {
  const { canvas, left, top } = difference();
  context.globalAlpha = Math.max(0.25, find('.opacity').value / 100) * 0.9 + 0.1;
  if (canvas) context.drawImage(canvas, left, top);
  context.globalAlpha = 1;
  if (find('.names').checked) drawBothNames(context);
}

// The names of A; where B calls the body otherwise, its name too.
function drawBothNames(context) {
  sideOf('A').vertebrae.forEach((vertebra, k) => {
    if (!vertebra || !visible[k]) return;
    const there = sideOf('B').bits[Math.round(vertebra.y) * shown.columns + Math.round(vertebra.x)] ?? 0;
    const others = props.names.filter((_, n) => n < BACKGROUND && (there >> n) & 1 && !((there >> k) & 1));
    drawText(context, vertebra.x + 0.5, vertebra.y + 0.5, [props.names[k], ...others].join(' | '), nameSize(vertebra));
  });
}

// The outlines of both, those of B dashed.
function drawContours(context) {
  for (const [name, kind, dash] of [['A', 'onlyA', []], ['B', 'onlyB', [7, 6]]]) {
    const layer = sideOf(name);
    context.setLineDash(dash.map((length) => length / view.scale));
    layer.vertebrae.forEach((vertebra, k) => vertebra && visible[k] && strokeTwice(context, closedBorder(layer, k), colourOf(kind), 2));
  }
  context.setLineDash([]);
  if (find('.names').checked && !edit.gesture) drawBothNames(context);
}

// The border of a vertebra as closed lines, which can be dashed.
function closedBorder(layer, k) {
  const vertebra = layer.vertebrae[k];
  if (vertebra.closed) return vertebra.closed;
  const path = new Path2D();
  for (const points of contoursOf(layer.bits, k, filmSize(), boxOf(vertebra))) {
    points.forEach(([x, y]) => path.lineTo(x, y));
    path.closePath();
  }
  return (vertebra.closed = path);
}

// How many pixels there are of each kind, and their picture; of the vertebrae that are switched on.
function difference() {
  const a = sideOf('A'), b = sideOf('B'), on = switchedOn(), { difference: last } = shown;
  return last?.a === a && last.b === b && last.on === on ? last : (shown.difference = { a, b, on, ...differenceOf(a, b, on) });
}

const kindOf = (a, b) => (!b ? (a ? 'onlyA' : null) : !a ? 'onlyB' : a & b ? 'both' : 'otherName');

function differenceOf(a, b, on) {
  const count = Object.fromEntries(props.differences.map(({ name }) => [name, 0])), box = [...a.vertebrae, ...b.vertebrae].map(boxOf).reduce(union, null);
  if (!box) return { canvas: null, left: 0, top: 0, count };
  const canvas = document.createElement('canvas'), width = (canvas.width = box.right - box.left + 1), height = (canvas.height = box.bottom - box.top + 1);
  const context = canvas.getContext('2d'), image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  const colours = Object.fromEntries(props.differences.map(({ name, colour }) => [name, pixelOf(rgb(colour))]));
  for (let at = 0, y = box.top; y <= box.bottom; y++)
    for (let i = y * shown.columns + box.left, end = i + width; i < end; i++, at++) {
      const kind = kindOf(a.bits[i] & on, b.bits[i] & on);
      if (!kind) continue;
      pixels[at] = colours[kind];
      count[kind]++;
    }
  context.putImageData(image, 0, 0);
  return { canvas, left: box.left, top: box.top, count };
}

// ---- probability maps, before post-processing ----

function drawMaps(context, maps) {
  if (!maps) return;
  context.save();
  context.beginPath();
  context.rect(0, 0, shown.columns, shown.rows);
  context.clip();
  for (let k = 0; k < BACKGROUND; k++) {
    if (!visible[k]) continue;
    const { canvas, border } = mapPicture(maps, k);
    context.globalAlpha = Math.min(1, find('.opacity').value / 60);
    context.drawImage(canvas, maps.left, maps.top, maps.width, maps.height);
    context.globalAlpha = 1;
    strokeTwice(context, border, props.colours[k], 1.6);
  }
  context.restore();
}

// A probability map on the network's grid as a picture, its opacity the probability times the gain; and its contour at 0.5.
function mapPicture(maps, k) {
  if (maps.drawn[k]) return maps.drawn[k];
  const { rows, columns } = maps, values = maps.values.subarray(k * rows * columns, (k + 1) * rows * columns);
  const canvas = document.createElement('canvas');
  canvas.width = columns; canvas.height = rows;
  const context = canvas.getContext('2d'), image = context.createImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
  const colour = rgb(props.colours[k]), gain = gainOf(maps);
  for (let i = 0; i < pixels.length; i++) if (values[i] > 2) pixels[i] = pixelOf(colour, Math.round(values[i] * gain * 0.8));
  context.putImageData(image, 0, 0);
  return (maps.drawn[k] = { canvas, border: levelContour(values, maps) });
}

// The contour at 0.5 by marching squares. Source: Lorensen and Cline (1987), in two dimensions.
function levelContour(values, maps) {
  const { rows, columns } = maps, path = new Path2D(), half = 127.5;
  const toFilm = (x, y) => [maps.left + ((x + 0.5) * maps.width) / columns, maps.top + ((y + 0.5) * maps.height) / rows];
  for (let y = 0; y + 1 < rows; y++)
    for (let x = 0; x + 1 < columns; x++) {
      const at = y * columns + x, a = values[at], b = values[at + 1], c = values[at + columns + 1], d = values[at + columns];
      if (a > half === b > half && b > half === c > half && c > half === d > half) continue;
      const cross = [];
      if (a > half !== b > half) cross.push([x + (half - a) / (b - a), y]);
      if (b > half !== c > half) cross.push([x + 1, y + (half - b) / (c - b)]);
      if (d > half !== c > half) cross.push([x + (half - d) / (c - d), y + 1]);
      if (a > half !== d > half) cross.push([x, y + (half - a) / (d - a)]);
      for (let n = 0; n + 1 < cross.length; n += 2) {
        path.moveTo(...toFilm(...cross[n]));
        path.lineTo(...toFilm(...cross[n + 1]));
      }
    }
  return path;
}
