// The viewer's pointer: zoom, pan, fit, swipe divider, and the value under the pointer. Other gestures have their own files.
const toFilm = ([x, y]) => [(x - view.x) / view.scale, (y - view.y) / (view.scale * shown.tall)];
const toStage = ([x, y]) => [view.x + x * view.scale, view.y + y * view.scale * shown.tall];

const fittingScale = () => Math.min(stage.clientWidth / shown.columns, stage.clientHeight / (shown.rows * shown.tall));

function fit() {
  view.fitted = true;
  if (shown.columns) {
    view.scale = fittingScale();
    view.x = (stage.clientWidth - shown.columns * view.scale) / 2;
    view.y = (stage.clientHeight - shown.rows * view.scale * shown.tall) / 2;
  }
  stage.classList.remove('zoomed');
  redraw();
}

function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  if (!shown.columns) return;
  const scale = Math.min(40, Math.max(0.5 * fittingScale(), view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  afterMove();
}

function move(dx, dy) {
  view.x += dx; view.y += dy;
  afterMove();
}

function afterMove() {
  // part of the film always stays in sight
  view.x = Math.min(stage.clientWidth - 40, Math.max(40 - shown.columns * view.scale, view.x));
  view.y = Math.min(stage.clientHeight - 40, Math.max(40 - shown.rows * view.scale * shown.tall, view.y));
  view.fitted = false;
  stage.classList.add('zoomed');
  redraw();
}

function setDivider(share) {
  view.divider = Math.min(0.98, Math.max(0.02, share));
  find('.divider').style.left = `${100 * view.divider}%`;
  redraw(false);
}

const pointers = new Map();
const positionOf = (event) => { const box = stage.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const pinch = () => { const [[ax, ay], [bx, by]] = [...pointers.values()]; return [Math.hypot(ax - bx, ay - by), (ax + bx) / 2, (ay + by) / 2]; };
let drag = null; // what a drag changes: 'position', 'divider', 'window', 'edit' or 'ruler'

stage.addEventListener('wheel', (event) => {
  if (!shown.columns) return;
  event.preventDefault();
  const step = event.deltaMode === 1 ? 18 : 1; // Firefox counts lines
  zoom(Math.exp(-event.deltaY * step * 0.0015), ...positionOf(event));
}, { passive: false });

stage.addEventListener('pointerdown', (event) => {
  if (!shown.columns || event.target.closest('button') || ![0, 2].includes(event.button)) return;
  stage.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, positionOf(event));
  if (pointers.size > 1 && drag === 'edit') cancelEdit();
  if (pointers.size > 1 && drag === 'ruler') cancelRuler();
  if (event.target.closest('.divider')) drag = 'divider';
  else if (event.button === 2) drag = 'window';
  else if (pointers.size > 1) drag = 'position';
  else if (beginEdit(event, positionOf(event))) drag = 'edit';
  else if (beginRuler(event, positionOf(event))) drag = 'ruler';
  else drag = rulers.tool === 'window' ? 'window' : 'position';
  stage.classList.add('held');
  updateReadout(positionOf(event));
});

stage.addEventListener('pointermove', (event) => {
  const at = positionOf(event);
  if (event.pointerType !== 'touch' || pointers.size === 1) updateReadout(at);
  if (!pointers.has(event.pointerId)) return;
  const before = pointers.size === 2 ? pinch() : pointers.get(event.pointerId);
  pointers.set(event.pointerId, at);
  if (pointers.size === 2) {
    const now = pinch();
    move(now[1] - before[1], now[2] - before[2]);
    zoom(now[0] / Math.max(1, before[0]), now[1], now[2]);
  } else if (drag === 'edit') moveEdit(at);
  else if (drag === 'ruler') moveRuler(at);
  else if (drag === 'divider') setDivider(at[0] / stage.clientWidth);
  else if (drag === 'window') changeWindow(at[0] - before[0], at[1] - before[1]);
  else if (event.pointerType !== 'touch' || !view.fitted) move(at[0] - before[0], at[1] - before[1]);
});

for (const kind of ['pointerup', 'pointercancel', 'pointerleave'])
  stage.addEventListener(kind, (event) => {
    pointers.delete(event.pointerId);
    if (drag === 'edit' && !pointers.size) (kind === 'pointercancel' ? cancelEdit : endEdit)();
    if (drag === 'ruler' && !pointers.size && rulers.held) (kind === 'pointercancel' ? cancelRuler : endRuler)(positionOf(event));
    if (!pointers.size) { stage.classList.remove('held'); drag = null; }
    if (kind === 'pointerleave' && event.pointerType !== 'touch') readout.textContent = '';
  });
stage.addEventListener('dblclick', (event) => edit.on || rulers.tool || event.target.closest('button, .divider') || fit());
stage.addEventListener('contextmenu', (event) => event.preventDefault());
// One finger on a fitted film scrolls the page (touch-action); two fingers zoom the film, not the page.
stage.addEventListener('touchmove', (event) => event.touches.length > 1 && event.cancelable && event.preventDefault(), { passive: false });

// ---- the value under the pointer ----

function updateReadout([x, y]) {
  const [column, row] = toFilm([x, y]).map(Math.floor);
  if (!(row >= 0 && column >= 0 && row < shown.rows && column < shown.columns)) return void (readout.textContent = '');
  const text = showsMaps() ? mapsText : bothShown() ? bothText : (...at) => layerText(layerAt(x), ...at);
  readout.textContent = [say('position', { row, column }), valueText(row, column), text(row, column), millimetresText(row, column), lineAt(x, y)].filter(Boolean).join('  ');
}

const bothShown = () => ['difference', 'contours'].includes(view.mode);
const sideAt = (x) => ({ swipe: x < view.divider * stage.clientWidth ? 'A' : 'B', blink: view.blink, sideA: 'A', sideB: 'B' })[view.mode];
const layerAt = (x) => (view.mode === 'a' ? shown.a : sideOf(sideAt(x)));

function layerText(layer, row, column) {
  if (!layer) return '';
  if (view.mode !== 'a' && layer.undecoded && layer.maps) return valuesText(layer.maps, row, column);
  return namesText(layer, row, column);
}

function namesText(layer, row, column) {
  const value = layer.bits[row * shown.columns + column];
  return value === 0 ? channelName(BACKGROUND) : props.names.filter((_, k) => k < BACKGROUND && (value >> k) & 1).join(' + ');
}

const bothText = (...at) => ['A', 'B'].map((name) => say('sideTitled', { side: name, title: namesText(sideOf(name), ...at) })).join('  ');
const mapsText = (...at) => (shownMaps() ? valuesText(shownMaps(), ...at) : '');

function valuesText(maps, row, column) {
  const gridRow = Math.floor(((row + 0.5 - maps.top) * maps.rows) / maps.height), gridColumn = Math.floor(((column + 0.5 - maps.left) * maps.columns) / maps.width);
  const value = (k) => maps.values[(k * maps.rows + gridRow) * maps.columns + gridColumn] / 255;
  return props.names.slice(0, BACKGROUND).map((name, k) => `${name} ${value(k).toFixed(2)}`).join('  ');
}
