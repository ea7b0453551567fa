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

// The canvas, cleared, in film coordinates.
function cleared(canvas) {
  const width = Math.round(stage.clientWidth * pixelRatio()), height = Math.round(stage.clientHeight * pixelRatio());
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext('2d');
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = 1;
  context.globalCompositeOperation = 'source-over';
  context.clearRect(0, 0, width, height);
  context.setTransform(view.scale * pixelRatio(), 0, 0, view.scale * pixelRatio(), view.x * pixelRatio(), view.y * pixelRatio());
  context.imageSmoothingEnabled = view.scale * pixelRatio() < 3; // closer than this, show the pixels as they are
  context.imageSmoothingQuality = 'medium';
  return context;
}

function drawFilm() {
  const context = cleared(filmCanvas);
  if (shown.bitmap) context.drawImage(shown.bitmap, 0, 0);
}

function drawOverlay() {
  const context = cleared(overlayCanvas);
  if (!shown.bitmap) return;
  const { mode } = view;
  if (showsMaps()) drawMaps(context, shownMaps());
  else if (mode === 'difference') drawDifference(context);
  else if (mode === 'swipe') {
    drawClipped(context, 0, view.divider, () => drawLayer(context, shown.a));
    drawClipped(context, view.divider, 1, () => drawLayer(context, shown.b));
  } else if (mode === 'a') drawMasks(context, shown.a);
  else drawLayer(context, shown[mode === 'blink' ? view.blink : mode]);
  drawLines(context);
  drawEditor(context);
}

function drawClipped(context, from, to, draw) {
  context.save();
  context.setTransform(pixelRatio(), 0, 0, pixelRatio(), 0, 0);
  context.beginPath();
  context.rect(from * stage.clientWidth, 0, (to - from) * stage.clientWidth, stage.clientHeight);
  context.clip();
  context.setTransform(view.scale * pixelRatio(), 0, 0, view.scale * pixelRatio(), view.x * pixelRatio(), view.y * pixelRatio());
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
  if (find('.names').checked && !edit.gesture) vertebrae.forEach((vertebra, k) => vertebra && drawText(context, vertebra.x + 0.5, vertebra.y + 0.5, props.names[k]));
}

// A line of constant width on the screen, with dark edges so that it is seen on white bone.
function strokeTwice(context, path, colour, width) {
  context.lineCap = 'square';
  for (const [style, extra] of [['#0009', 1.6], [colour, 0]]) {
    context.strokeStyle = style;
    context.lineWidth = (width + extra) / view.scale;
    context.stroke(path);
  }
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
  context.lineWidth = 3.5;
  context.lineJoin = 'round';
  context.strokeStyle = '#000c';
  context.fillStyle = '#fff';
  context.strokeText(text, view.x + x * view.scale, view.y + y * view.scale);
  context.fillText(text, view.x + x * view.scale, view.y + y * view.scale);
  context.restore();
}

// ---- what differs between a and b ----

function drawDifference(context) {
  if (!shown.a || !shown.b) return;
  const { canvas, left, top } = (shown.difference ||= difference(shown.a.bits, shown.b.bits));
  context.globalAlpha = Math.max(0.25, find('.opacity').value / 100) * 0.9 + 0.1;
  if (canvas) context.drawImage(canvas, left, top);
  context.globalAlpha = 1;
  shown.a.vertebrae.forEach((vertebra, k) => vertebra && visible[k] && strokeTwice(context, vertebra.border, '#fff', 0.8));
  if (find('.names').checked) shown.a.vertebrae.forEach((vertebra, k) => vertebra && visible[k] && drawText(context, vertebra.x, vertebra.y, props.names[k]));
}

// Kinds: 1 only in a, 2 only in b, 3 in both under different names. Only the box around all of them is coloured.
function difference(a, b) {
  const { columns, rows } = shown, kinds = props.differences.map((kind) => pixelOf(rgb(kind.colour)));
  const kind = (i) => (a[i] === b[i] ? 0 : !b[i] ? 1 : !a[i] ? 2 : a[i] & b[i] ? 0 : 3);
  const count = [0, 0, 0, 0];
  let left = columns, right = -1, top = rows, bottom = -1;
  for (let y = 0, i = 0; y < rows; y++)
    for (let x = 0; x < columns; x++, i++) {
      const found = a[i] === b[i] ? 0 : kind(i);
      if (!found) continue;
      count[found]++;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  if (right < 0) return { canvas: null, left: 0, top: 0, count };
  const canvas = document.createElement('canvas'), width = right - left + 1, height = bottom - top + 1;
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext('2d'), image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const found = kind((y + top) * columns + x + left);
      if (found) pixels[y * width + x] = kinds[found - 1];
    }
  context.putImageData(image, 0, 0);
  return { canvas, left, top, count };
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
