// The viewer, part 3 of 5: zoom, pan, fit, window, swipe, and the value under the pointer.

const fitting = () => Math.min(stage.clientWidth / shown.columns, stage.clientHeight / shown.rows);

function fit() {
  view.fitted = true;
  if (shown.columns) {
    view.scale = fitting();
    view.x = (stage.clientWidth - shown.columns * view.scale) / 2;
    view.y = (stage.clientHeight - shown.rows * view.scale) / 2;
  }
  stage.classList.remove('zoomed');
  redraw();
}

function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  if (!shown.columns) return;
  const scale = Math.min(40, Math.max(0.5 * fitting(), view.scale * factor));
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

function windowed() {
  const invert = find('.invert').checked ? 'invert(1) ' : '';
  filmCanvas.style.filter = `${invert}brightness(${find('.brightness').value}%) contrast(${find('.contrast').value}%)`;
}

function windowBy(brighter, steeper) {
  find('.brightness').value = Number(find('.brightness').value) + brighter;
  find('.contrast').value = Number(find('.contrast').value) + steeper;
  windowed();
}

function split(share) {
  view.split = Math.min(0.98, Math.max(0.02, share));
  find('.divider').style.left = `${100 * view.split}%`;
  redraw(false);
}

const pointers = new Map();
const place = (event) => { const box = stage.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const spread = () => { const [[ax, ay], [bx, by]] = [...pointers.values()]; return [Math.hypot(ax - bx, ay - by), (ax + bx) / 2, (ay + by) / 2]; };
let grip = null; // what a drag does: 'move', 'split' or 'window'

stage.addEventListener('wheel', (event) => {
  if (!shown.columns) return;
  event.preventDefault();
  const step = event.deltaMode === 1 ? 18 : 1; // Firefox counts lines
  zoom(Math.exp(-event.deltaY * step * 0.0015), ...place(event));
}, { passive: false });

stage.addEventListener('pointerdown', (event) => {
  if (!shown.columns || event.target.closest('button') || ![0, 2].includes(event.button)) return;
  stage.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, place(event));
  grip = event.target.closest('.divider') ? 'split' : event.button === 2 ? 'window' : 'move';
  stage.classList.add('held');
  look(place(event));
});

stage.addEventListener('pointermove', (event) => {
  const at = place(event);
  if (event.pointerType !== 'touch' || pointers.size === 1) look(at);
  if (!pointers.has(event.pointerId)) return;
  const before = pointers.size === 2 ? spread() : pointers.get(event.pointerId);
  pointers.set(event.pointerId, at);
  if (pointers.size === 2) {
    const now = spread();
    move(now[1] - before[1], now[2] - before[2]);
    zoom(now[0] / Math.max(1, before[0]), now[1], now[2]);
  } else if (grip === 'split') split(at[0] / stage.clientWidth);
  else if (grip === 'window') windowBy((before[1] - at[1]) * 0.6, (at[0] - before[0]) * 0.6);
  else if (event.pointerType !== 'touch' || !view.fitted) move(at[0] - before[0], at[1] - before[1]);
});

for (const kind of ['pointerup', 'pointercancel', 'pointerleave'])
  stage.addEventListener(kind, (event) => {
    pointers.delete(event.pointerId);
    if (!pointers.size) { stage.classList.remove('held'); grip = null; }
    if (kind === 'pointerleave' && event.pointerType !== 'touch') readout.textContent = '';
  });
stage.addEventListener('dblclick', (event) => event.target.closest('button, .divider') || fit());
stage.addEventListener('contextmenu', (event) => event.preventDefault());
// With one finger a fitted film lets the page scroll (touch-action), with two it is pinched: the page must not.
stage.addEventListener('touchmove', (event) => event.touches.length > 1 && event.cancelable && event.preventDefault(), { passive: false });

// ---- the value under the pointer ----

function look([x, y]) {
  const column = Math.floor((x - view.x) / view.scale), row = Math.floor((y - view.y) / view.scale);
  if (!(row >= 0 && column >= 0 && row < shown.rows && column < shown.columns)) return void (readout.textContent = '');
  const said = { raw: saidRaw, rawb: saidRaw, difference: saidOfBoth }[view.mode] ?? ((...at) => saidOf(seenAt(x), ...at));
  readout.textContent = [`row ${row}  column ${column}`, said(row, column), lineAt(x, y)].filter(Boolean).join('  ');
}

const seenAt = (x) => shown[{ swipe: x < view.split * stage.clientWidth ? 'a' : 'b', blink: view.blink }[view.mode] ?? view.mode];

function saidOf(layer, row, column) {
  if (!layer) return '';
  if (view.mode !== 'a' && layer.undecoded && layer.raw) return valuesAt(layer.raw, row, column);
  return namesAt(layer, row, column);
}

function namesAt(layer, row, column) {
  const value = layer.bits[row * shown.columns + column];
  return value === 0 ? props.names[BACKGROUND] : props.names.filter((_, k) => k < BACKGROUND && (value >> k) & 1).join(' + ');
}

const saidOfBoth = (...at) => `${shown.a.title}: ${namesAt(shown.a, ...at)}  ${shown.b.title}: ${namesAt(shown.b, ...at)}`;
const saidRaw = (...at) => (rawShown() ? valuesAt(rawShown(), ...at) : '');

function valuesAt(raw, row, column) {
  const gridRow = Math.floor(((row + 0.5 - raw.top) * raw.rows) / raw.height), gridColumn = Math.floor(((column + 0.5 - raw.left) * raw.columns) / raw.width);
  const value = (k) => raw.values[(k * raw.rows + gridRow) * raw.columns + gridColumn] / 255;
  return props.names.slice(0, BACKGROUND).map((name, k) => `${name} ${value(k).toFixed(2)}`).join('  ');
}

// The measuring line within a few pixels of the pointer.
function lineAt(x, y) {
  const before = view.pointed;
  view.pointed = find('.lines').checked && !isRaw() ? shown.lines.find((line) => gap(line, x, y) < 6) : undefined;
  if (before !== view.pointed) redraw(false);
  return view.pointed?.name;
}

function gap(line, x, y) {
  const [ay, ax] = line.start, [by, bx] = line.end, [px, py] = [(x - view.x) / view.scale, (y - view.y) / view.scale];
  const length = Math.hypot(bx - ax, by - ay) || 1;
  const along = Math.min(1, Math.max(0, ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length ** 2));
  return Math.hypot(px - ax - along * (bx - ax), py - ay - along * (by - ay)) * view.scale;
}
