// Editing with the pointer: drag a corner, the middle of a side or the contour; brush and eraser; four corners. Each
// gesture becomes one step. While it lasts the masks are drawn anew from what they were before it.
const REACH = { mouse: 10, pen: 14, touch: 26 }; // pixels on the screen
const SMALLEST_BODY = 64; // pixels of the film
const edit = { on: false, tool: 'shape', k: 0, radius: 12, clicks: [], gesture: null, pointer: null };

const between = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
const bit = (k) => 1 << k;

// The contour of a vertebra with its handles: corners first, then the middles of the sides that begin there.
function outlineOf(k) {
  const vertebra = shown.a?.vertebrae[k];
  if (!vertebra) return null;
  return (shown.a.outlines[k] ||= handlesOn(contourOf(shown.a.bits, k, filmSize(), boxOf(vertebra)), k));
}

function handlesOn(contour, k) {
  const along = alongSpine(k), corners = fromFirst(contour, cornersOn(contour, shown.a.corners[k], along), along);
  const handle = (kind, n, at) => ({ kind, n, at });
  return { contour, corners, handles: [...corners.map((at, n) => handle('corner', n, contour[at])), ...corners.map((_, n) => handle('side', n, middleOfSide(contour, corners, n)))] };
}

// The same corner stays the first while a contour changes: the one that lies farthest up and to one side.
function fromFirst(contour, corners, [ax, ay]) {
  const rank = (at) => { const [x, y] = contour[at]; return x * ax + y * ay - x * ay + y * ax; };
  const first = corners.reduce((best, at, n) => (rank(at) < rank(corners[best]) ? n : best), 0);
  return [...corners.slice(first), ...corners.slice(0, first)];
}

// Direction of the spine at a vertebra, from its neighbours' centres; downwards where it has none.
function alongSpine(k) {
  const found = shown.a.vertebrae.map((vertebra, n) => vertebra && { n, at: [vertebra.x, vertebra.y] }).filter(Boolean);
  const above = found.findLast(({ n }) => n < k) ?? found.find(({ n }) => n === k), below = found.find(({ n }) => n > k) ?? found.find(({ n }) => n === k);
  const size = above && below ? between(above.at, below.at) : 0;
  return size ? [(below.at[0] - above.at[0]) / size, (below.at[1] - above.at[1]) / size] : [0, 1];
}

// ---- a gesture, as the pointer's events tell it ----

function beginEdit(event, at) {
  if (!edit.on || !shown.a || event.button !== 0) return false;
  if (edit.gesture) cancelEdit(); // whose end the browser did not tell
  const gesture = { shape: grab, brush: stroke, erase: stroke, corners: click }[edit.tool](toFilm(at), (REACH[event.pointerType] ?? REACH.mouse) / view.scale);
  if (!gesture) return false;
  edit.gesture = Object.assign(gesture, { touch: event.pointerType === 'touch' });
  moveEdit(at);
  return true;
}

function moveEdit(at) {
  edit.pointer = at;
  edit.gesture?.move(toFilm(at)); // none after Escape or undo
  redraw(false);
}

function endEdit() {
  const { gesture } = edit;
  edit.gesture = null;
  gesture?.end();
  refreshEditor();
}

// A second finger means a pinch.
function cancelEdit() {
  const { gesture } = edit;
  edit.gesture = null;
  gesture?.cancel();
  refreshEditor();
}

// Masks that change with a gesture, and what they were.
function changing(text) {
  const before = shown.a.bits.slice();
  let dirty = null;
  return {
    restore: () => dirty && copyBox(before, shown.a.bits, filmSize(), dirty),
    changed: (box) => { dirty = union(dirty, box); masksChanged(dirty); changedMeanwhile(); },
    end: () => commit(before, dirty, text),
    cancel() { this.restore(); if (dirty) masksChanged(dirty); },
  };
}

// ---- shape ----

// The handle nearest to the point, first of the vertebra that is edited, then of the others; else its contour.
function grab(point, reach) {
  const others = props.names.map((_, k) => k).filter((k) => k !== edit.k && k !== BACKGROUND && visible[k]);
  for (const k of [edit.k, ...others]) {
    const within = (outlineOf(k)?.handles ?? []).filter((handle) => between(handle.at, point) < reach);
    if (!within.length) continue;
    selectVertebra(k);
    return dragHandle(k, within.reduce((best, handle) => (between(handle.at, point) < between(best.at, point) ? handle : best)), point);
  }
  const own = outlineOf(edit.k), at = own && nearestIndex(own.contour, point);
  if (own && between(own.contour[at], point) < reach) return deform(edit.k, pointWeights(own.contour.length, at), point);
  const under = shown.a.bits[Math.floor(point[1]) * shown.columns + Math.floor(point[0])] ?? 0;
  if (under && point[0] >= 0 && point[0] < shown.columns) selectVertebra(31 - Math.clz32(under));
  return null;
}

function dragHandle(k, { kind, n }, from) {
  const { contour, corners } = outlineOf(k), weights = kind === 'corner' ? cornerWeights : sideWeights;
  return deform(k, weights(contour.length, corners, n), from, kind === 'corner' ? n : null);
}

// Move the contour by the way of the pointer, each point by its weight. What the body gains others lose.
function deform(k, weights, from, corner = null) {
  const { contour, corners } = outlineOf(k), first = corners.map((at) => contour[at]), change = changing(say('stepShape', { name: props.names[k] }));
  const side = new Uint8Array(shown.rows * shown.columns), { bits } = shown.a; // 1: inside before, 2: inside now
  fillPolygon(contour, filmSize(), (i) => { side[i] = 1; });
  const home = boxAround(contour, filmSize());
  return {
    ...change,
    move([x, y]) {
      const moved = contour.map(([px, py], i) => [px + weights[i] * (x - from[0]), py + weights[i] * (y - from[1])]);
      const box = union(home, boxAround(moved, filmSize()));
      change.restore();
      fillPolygon(moved, filmSize(), (i) => { side[i] |= 2; });
      eachIndex(box, (i) => {
        if (side[i] === 1) bits[i] &= ~bit(k);
        else if (side[i] === 2) bits[i] = bit(k);
        side[i] &= 1;
      });
      shown.a.corners[k] = first.map((at, n) => (n === corner ? [at[0] + x - from[0], at[1] + y - from[1]] : at));
      change.changed(box);
    },
  };
}

function eachIndex(box, action) {
  for (let y = box.top; y <= box.bottom; y++) for (let i = y * shown.columns + box.left, end = i + box.right - box.left; i <= end; i++) action(i);
}

// By the keyboard: a handle moves by whole pixels, one step each time.
function nudge(handle, dx, dy) {
  if (edit.gesture) cancelEdit();
  const [x, y] = handle.at, gesture = dragHandle(edit.k, handle, [x, y]);
  gesture.move([x + dx, y + dy]);
  gesture.end();
}

// ---- brush and eraser ----

function stroke(point) {
  const { k, tool, radius } = edit, { bits } = shown.a, change = changing(say(tool === 'erase' ? 'stepErase' : 'stepBrush', { name: props.names[k] }));
  const set = tool === 'erase' ? (i) => { bits[i] &= ~bit(k); } : (i) => { bits[i] = bit(k); };
  let last = point;
  return { ...change, move(to) { change.changed(fillStroke(last, to, radius, filmSize(), set)); last = to; } };
}

// ---- four corners ----

function click(point) {
  const n = edit.clicks.push(point) - 1;
  return {
    move(to) { edit.clicks[n] = to; },
    end() { if (edit.clicks.length === 4) drawBody(edit.k, edit.clicks); },
    cancel() { edit.clicks.length = n; },
  };
}

function drawBody(k, corners) {
  edit.clicks = [];
  const outline = bodyOutline(corners), box = union(boxOf(shown.a.vertebrae[k]), boxAround(outline, filmSize()));
  if (Math.abs(areaOf(outline)) < SMALLEST_BODY) return;
  const change = changing(say('stepCorners', { name: props.names[k] })), { bits } = shown.a;
  eachIndex(box, (i) => { bits[i] &= ~bit(k); });
  fillPolygon(outline, filmSize(), (i) => { bits[i] = bit(k); });
  shown.a.corners[k] = corners;
  change.changed(box);
  change.end();
  selectTool('shape');
}
