// The viewer, part 2 of 5: drawing. Two canvases as large as the stage, the film and what lies over it. Each vertebra
// is a small coloured picture cut to its own box, so a switch redraws a few of them and asks the server nothing.
const filmCanvas = find('.film'), overlayCanvas = find('.overlay'), scratch = document.createElement('canvas');

let waiting = { film: false, frame: 0 };
function redraw(film = true) {
  waiting.film ||= film;
  waiting.frame ||= requestAnimationFrame(() => {
    const { film: both } = waiting;
    waiting = { film: false, frame: 0 };
    const began = performance.now();
    if (both) drawFilm();
    drawOverlay();
    root.dataset.drawMs = (performance.now() - began).toFixed(1);
    root.dataset.drawn = Number(root.dataset.drawn || 0) + 1;
  });
}

const dots = () => window.devicePixelRatio || 1;

// The canvas, empty, with the film's own coordinates.
function ready(canvas) {
  const width = Math.round(stage.clientWidth * dots()), height = Math.round(stage.clientHeight * dots());
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext('2d');
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = 1;
  context.globalCompositeOperation = 'source-over';
  context.clearRect(0, 0, width, height);
  context.setTransform(view.scale * dots(), 0, 0, view.scale * dots(), view.x * dots(), view.y * dots());
  context.imageSmoothingEnabled = view.scale * dots() < 3; // closer than this, show the pixels as they are
  context.imageSmoothingQuality = 'medium';
  return context;
}

function drawFilm() {
  const context = ready(filmCanvas);
  if (shown.bitmap) context.drawImage(shown.bitmap, 0, 0);
}

function drawOverlay() {
  const context = ready(overlayCanvas);
  if (!shown.bitmap) return;
  const { mode } = view;
  if (isRaw()) drawRaw(context, rawShown());
  else if (mode === 'difference') drawDifference(context);
  else if (mode === 'swipe') {
    half(context, 0, view.split, () => drawSide(context, shown.a));
    half(context, view.split, 1, () => drawSide(context, shown.b));
  } else if (mode === 'a') drawMasks(context, shown.a);
  else drawSide(context, shown[mode === 'blink' ? view.blink : mode]);
  if (find('.lines').checked && !isRaw()) drawLines(context);
}

function half(context, from, to, draw) {
  context.save();
  context.setTransform(dots(), 0, 0, dots(), 0, 0);
  context.beginPath();
  context.rect(from * stage.clientWidth, 0, (to - from) * stage.clientWidth, stage.clientHeight);
  context.clip();
  context.setTransform(view.scale * dots(), 0, 0, view.scale * dots(), view.x * dots(), view.y * dots());
  draw();
  context.restore();
}

// One side of a comparison. A model without rules is shown by its channels, or a collapsed one would be an empty side.
function drawSide(context, layer) {
  if (layer?.undecoded && layer.raw) drawRaw(context, layer.raw);
  else drawMasks(context, layer);
}

function drawMasks(context, layer) {
  if (!layer) return;
  const opacity = find('.opacity').value / 100, bones = layer.bones.map((bone, k) => on[k] && bone);
  if (on[BACKGROUND]) paste(context, backdrop(layer), opacity);
  if (root.dataset.style === 'outline') bones.forEach((bone, k) => bone && stroke(context, bone.border, props.colours[k], 2.2));
  else {
    context.globalAlpha = opacity;
    bones.forEach((bone) => bone && context.drawImage(bone.canvas, bone.left, bone.top));
    context.globalAlpha = 1;
  }
  if (find('.names').checked) bones.forEach((bone, k) => bone && write(context, bone.x + 0.5, bone.y + 0.5, props.names[k]));
}

// A line as wide on the screen at every zoom, dark on both sides so that it shows on white bone too.
function stroke(context, path, colour, width) {
  context.lineCap = 'square';
  for (const [style, extra] of [['#0009', 1.6], [colour, 0]]) {
    context.strokeStyle = style;
    context.lineWidth = (width + extra) / view.scale;
    context.stroke(path);
  }
}

function paste(context, canvas, opacity) {
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = opacity;
  context.drawImage(canvas, 0, 0);
  context.restore();
}

// The background is the film less every vertebra, switched on or not.
function backdrop(layer) {
  const context = ready(scratch);
  context.fillStyle = props.colours[BACKGROUND];
  context.fillRect(0, 0, shown.columns, shown.rows);
  context.globalCompositeOperation = 'destination-out';
  for (const bone of layer.bones) if (bone) context.drawImage(bone.canvas, bone.left, bone.top);
  return scratch;
}

// Text of one size on the screen at every zoom, at (x, y) of the film.
function write(context, x, y, text, size = 14) {
  context.save();
  context.setTransform(dots(), 0, 0, dots(), 0, 0);
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

function drawLines(context) {
  for (const line of shown.lines) {
    if (line.vertebra !== undefined && !on[line.vertebra]) continue;
    const path = new Path2D(), [[top, left], [bottom, right]] = [line.start, line.end];
    path.moveTo(left + 0.5, top + 0.5);
    path.lineTo(right + 0.5, bottom + 0.5);
    stroke(context, path, '#fff', line === view.pointed ? 3 : 1.4);
  }
}

// ---- what differs between a and b ----

function drawDifference(context) {
  if (!shown.a || !shown.b) return;
  const { canvas, left, top } = (shown.difference ||= difference(shown.a.bits, shown.b.bits));
  context.globalAlpha = Math.max(0.25, find('.opacity').value / 100) * 0.9 + 0.1;
  if (canvas) context.drawImage(canvas, left, top);
  context.globalAlpha = 1;
  shown.a.bones.forEach((bone, k) => bone && on[k] && stroke(context, bone.border, '#fff', 0.8));
  if (find('.names').checked) shown.a.bones.forEach((bone, k) => bone && on[k] && write(context, bone.x, bone.y, props.names[k]));
}

// 1: only in a, 2: only in b, 3: in both under different names. Only the box that holds all of it is coloured.
function difference(a, b) {
  const { columns, rows } = shown, kinds = props.differences.map((kind) => packed(rgb(kind.colour)));
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

// ---- what the network says before any rule ----

function drawRaw(context, raw) {
  if (!raw) return;
  context.save();
  context.beginPath();
  context.rect(0, 0, shown.columns, shown.rows);
  context.clip();
  for (let k = 0; k < BACKGROUND; k++) {
    if (!on[k]) continue;
    const { canvas, border } = channel(raw, k);
    context.globalAlpha = Math.min(1, find('.opacity').value / 60);
    context.drawImage(canvas, raw.left, raw.top, raw.width, raw.height);
    context.globalAlpha = 1;
    stroke(context, border, props.colours[k], 1.6);
  }
  context.restore();
}

// A channel as a picture of the network's own grid, as opaque as it is probable (times the gain), and the line at 0.5.
function channel(raw, k) {
  if (raw.drawn[k]) return raw.drawn[k];
  const { rows, columns } = raw, values = raw.values.subarray(k * rows * columns, (k + 1) * rows * columns);
  const canvas = document.createElement('canvas');
  canvas.width = columns; canvas.height = rows;
  const context = canvas.getContext('2d'), image = context.createImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
  const colour = rgb(props.colours[k]), gain = gainOf(raw);
  for (let i = 0; i < pixels.length; i++) if (values[i] > 2) pixels[i] = packed(colour, Math.round(values[i] * gain * 0.8));
  context.putImageData(image, 0, 0);
  return (raw.drawn[k] = { canvas, border: threshold(values, raw) });
}

// The contour at 0.5, square by square between four neighbouring pixel centres. Source: Lorensen and Cline (1987) in 2D.
function threshold(values, raw) {
  const { rows, columns } = raw, path = new Path2D(), half = 127.5;
  const place = (x, y) => [raw.left + ((x + 0.5) * raw.width) / columns, raw.top + ((y + 0.5) * raw.height) / rows];
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
        path.moveTo(...place(...cross[n]));
        path.lineTo(...place(...cross[n + 1]));
      }
    }
  return path;
}
