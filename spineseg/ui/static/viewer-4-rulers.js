// Lengths and angles that a person measures on the film: ruler, angle of three points, Cobb angle of two lines. Points are
// [x, y] on the film; millimetres and angles are those of the film's own pixels, square or not. Cleared with the film.
const POINTS = { ruler: 2, angle: 3, cobb: 4 };
const RULER_COLOUR = '#ff8ad8', GRAB = { mouse: 9, pen: 13, touch: 24 }, CLICK = 4; // pixels on the screen
const rulers = { tool: null, marks: [], chosen: null, draft: null, held: null, floating: false }; // held: { mark, n, pair, from }
const rulerHandles = find('.ruler-handles');

function selectPointer(tool) {
  if (tool && !shown.film) return;
  if (tool && edit.on) toggleEdit(false);
  dropDraft();
  rulers.tool = tool;
  root.toggleAttribute('data-pointer', Boolean(tool));
  for (const button of all('[data-pointer-tool]')) {
    button.disabled = !shown.film;
    button.setAttribute('aria-pressed', button.dataset.pointerTool === tool);
  }
}
const togglePointer = (tool) => selectPointer(rulers.tool === tool ? null : tool);

function clearRulers() {
  Object.assign(rulers, { marks: [], chosen: null, draft: null, held: null, floating: false });
  selectPointer(null);
  rulersChanged();
}

function dropDraft() {
  if (rulers.draft) remove(rulers.draft);
  Object.assign(rulers, { draft: null, held: null, floating: false });
}

function remove(mark) {
  rulers.marks = rulers.marks.filter((other) => other !== mark);
  if (rulers.chosen === mark) rulers.chosen = null;
  rulersChanged();
}

// ---- values ----

// From a to b in units of a pixel's width, or in millimetres.
const across = ([ax, ay], [bx, by]) => [bx - ax, (by - ay) * shown.tall];
const lengthPx = (a, b) => Math.hypot(...across(a, b));
const lengthMm = (a, b) => lengthPx(a, b) * shown.spacing[1];

// Degrees, 0..180, between two directions.
function degreesBetween([ax, ay], [bx, by]) {
  return (Math.atan2(Math.abs(ax * by - ay * bx), ax * bx + ay * by) * 180) / Math.PI;
}

function degreesOf({ kind, points: [a, b, c, d] }) {
  if (kind === 'angle') return degreesBetween(across(b, a), across(b, c));
  const found = degreesBetween(across(a, b), across(c, d));
  return Math.min(found, 180 - found); // lines have no direction
}

const complete = ({ kind, points }) => points.length === POINTS[kind];
const numberOf = (mark) => rulers.marks.filter(({ kind }) => kind === mark.kind).indexOf(mark) + 1;

function textOf(mark) {
  const n = numberOf(mark), [a, b] = mark.points;
  if (mark.kind !== 'ruler') return say(mark.kind, { n, degrees: degreesOf(mark).toFixed(1) });
  if (!shown.spacing) return say('rulerPixels', { n, px: lengthPx(a, b).toFixed(1) });
  return say(shown.spacing[2] === 'detector' ? 'rulerDetector' : 'rulerPatient', { n, mm: lengthMm(a, b).toFixed(1) });
}

function shortTextOf(mark) {
  const [a, b] = mark.points;
  if (mark.kind !== 'ruler') return say('shortDegrees', { degrees: degreesOf(mark).toFixed(1) });
  return shown.spacing ? say('shortMm', { mm: lengthMm(a, b).toFixed(1) }) : say('shortPixels', { px: lengthPx(a, b).toFixed(1) });
}

// Where a pixel's centre lies from that of the first one.
function millimetresText(row, column) {
  if (!shown.spacing) return '';
  const [rowMm, columnMm, plane] = shown.spacing;
  return say(plane === 'detector' ? 'atDetector' : 'atPatient', { down: (row * rowMm).toFixed(1), right: (column * columnMm).toFixed(1) });
}

// ---- with the pointer: drag a line, or click its ends ----

function beginRuler(event, at) {
  if (edit.on || event.button !== 0 || showsMaps() || !shown.film) return false;
  rulers.held = rulers.floating ? placeFloating(at) : grabPoint(at, GRAB[event.pointerType] ?? GRAB.mouse) ?? newPoint(at);
  return Boolean(rulers.held);
}

function placeFloating(at) {
  const mark = rulers.draft, n = mark.points.length - 1;
  mark.points[n] = toFilm(at);
  rulers.floating = false;
  return { mark, n, pair: false, from: at };
}

function grabPoint(at, reach) {
  let best = null, least = reach;
  for (const mark of rulers.marks)
    mark.points.forEach((point, n) => {
      const far = between(toStage(point), at);
      if (far < least) { least = far; best = { mark, n, pair: false, from: at }; }
    });
  if (best) rulers.chosen = best.mark;
  return best;
}

// The next point of what is being placed; two where another has to follow, of which the second is dragged.
function newPoint(at) {
  if (!POINTS[rulers.tool]) return null;
  if (!rulers.draft) {
    rulers.draft = rulers.chosen = { kind: rulers.tool, points: [] };
    rulers.marks.push(rulers.draft);
  }
  const { points, kind } = rulers.draft, pair = points.length + 1 < POINTS[kind];
  for (let count = 0; count <= pair; count++) points.push(toFilm(at));
  return { mark: rulers.draft, n: points.length - 1, pair, from: at };
}

function moveRuler(at) {
  if (!rulers.held) return;
  const { mark, n } = rulers.held;
  mark.points[n] = toFilm(at);
  rulersChanged();
}

function endRuler(at) {
  const { pair, from } = rulers.held;
  rulers.floating = pair && between(from, at) < CLICK;
  rulers.held = null;
  if (!rulers.floating && rulers.draft && complete(rulers.draft)) rulers.draft = null;
  rulersChanged();
}

// A second finger means a pinch: what was being placed goes, what was moved stays.
function cancelRuler() {
  if (rulers.held?.mark === rulers.draft) dropDraft();
  rulers.held = null;
}

// ---- with keys ----

// A mark in the middle of the view; its first point then has the focus.
function placeInMiddle() {
  const kind = rulers.tool, x = stage.clientWidth / 2, y = stage.clientHeight / 2, size = Math.min(x, y) / 2;
  if (!POINTS[kind]) return;
  dropDraft();
  const shapes = {
    ruler: [[-1, 0], [1, 0]], angle: [[-1, -0.5], [0, 0.5], [1, -0.5]], cobb: [[-1, -0.5], [1, -0.8], [-1, 0.5], [1, 0.8]],
  };
  const mark = { kind, points: shapes[kind].map(([dx, dy]) => toFilm([x + dx * size, y + dy * size])) };
  rulers.marks.push(mark);
  rulers.chosen = mark;
  rulersChanged();
  [...rulerHandles.children].find((handle) => handle.mark === mark)?.focus({ preventScroll: true });
}

const STEPS_BY_KEY = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function handleKey(event) {
  const { mark, n } = event.target, step = STEPS_BY_KEY[event.key], size = event.shiftKey ? 10 : 1;
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (step) mark.points[n] = [mark.points[n][0] + step[0] * size, mark.points[n][1] + step[1] * size];
  else if (event.key === 'Delete' || event.key === 'Backspace') remove(mark);
  else if (event.key !== 'Escape') return;
  event.preventDefault();
  if (step) return rulersChanged();
  if (event.key === 'Escape') selectPointer(null);
  stage.focus({ preventScroll: true });
}

// Keys of the stage that belong to what is being measured; null for all others.
function rulerKey(event) {
  if (edit.on) return null;
  if (event.key === 'Enter' && POINTS[rulers.tool]) return placeInMiddle;
  if ((event.key === 'Delete' || event.key === 'Backspace') && rulers.chosen) return () => (rulers.draft === rulers.chosen ? dropDraft() : remove(rulers.chosen));
  return event.key === 'Escape' && rulers.tool ? () => (rulers.draft ? dropDraft() : selectPointer(null)) : null;
}

// ---- on the page ----

function rulersChanged() {
  listRulers();
  placeRulerHandles();
  redraw(false);
}

function listRulers() {
  const list = find('.rulers'), done = rulers.marks.filter(complete);
  list.hidden = !done.length;
  while (list.children.length > done.length) list.lastChild.remove();
  done.forEach((mark, n) => {
    const item = list.children[n] ?? list.appendChild(listItem()), text = textOf(mark), button = item.lastChild;
    item.mark = mark;
    item.classList.toggle('chosen', mark === rulers.chosen);
    item.firstChild.textContent = text;
    button.setAttribute('aria-label', say('deleteMark', { what: text }));
    button.title = say('deleteMark', { what: text });
  });
}

function listItem() {
  const item = document.createElement('li'), text = document.createElement('span'), button = document.createElement('button');
  Object.assign(button, { type: 'button', textContent: '×' });
  button.addEventListener('click', () => remove(item.mark));
  item.append(text, button);
  return item;
}

// A button for each point, for the keyboard; the pointer finds points by their place.
function placeRulerHandles() {
  const points = rulers.marks.filter(complete).flatMap((mark) => mark.points.map((point, n) => ({ mark, n, point })));
  while (rulerHandles.children.length > points.length) rulerHandles.lastChild.remove();
  points.forEach(({ mark, n, point }, at) => {
    const button = rulerHandles.children[at] ?? rulerHandles.appendChild(Object.assign(document.createElement('button'), { type: 'button' })), [x, y] = toStage(point);
    Object.assign(button, { mark, n });
    button.hidden = showsMaps();
    button.style.transform = `translate(${x}px, ${y}px)`;
    button.setAttribute('aria-label', say('point', { what: textOf(mark), n: n + 1 }));
  });
}
rulerHandles.addEventListener('keydown', handleKey);
rulerHandles.addEventListener('focusin', ({ target }) => { rulers.chosen = target.mark; rulersChanged(); });

function drawRulers(context) {
  placeRulerHandles();
  for (const mark of rulers.marks) {
    const path = new Path2D(), [a, b, c, d] = mark.points;
    const line = (from, to) => { path.moveTo(...from); path.lineTo(...to); };
    if (b) line(a, b);
    if (mark.kind === 'angle' && c) line(b, c);
    if (mark.kind === 'cobb' && d) line(c, d);
    strokeTwice(context, path, RULER_COLOUR, mark === rulers.chosen ? 2.4 : 1.6);
    for (const point of mark.points) drawEnd(context, point, mark === rulers.chosen);
    if (complete(mark)) drawText(context, ...labelPlace(mark), shortTextOf(mark));
  }
}

function drawEnd(context, point, chosen) {
  const [x, y] = toStage(point), arm = chosen ? 6 : 4.5, path = new Path2D(`M${x - arm} ${y}h${2 * arm}M${x} ${y - arm}v${2 * arm}`);
  context.save();
  context.setTransform(pixelRatio(), 0, 0, pixelRatio(), 0, 0);
  for (const [style, width] of [['#000b', 3.4], [RULER_COLOUR, 1.8]]) {
    Object.assign(context, { strokeStyle: style, lineWidth: width, lineCap: 'round' });
    context.stroke(path);
  }
  context.restore();
}

// Beside the middle of a ruler, below the vertex of an angle, between two lines.
function labelPlace({ kind, points }) {
  const mean = (some) => [0, 1].map((axis) => some.reduce((sum, point) => sum + point[axis], 0) / some.length);
  const [x, y] = toStage(kind === 'angle' ? points[1] : mean(points));
  return toFilm(kind === 'cobb' ? [x, y] : [x, y + 16]);
}

all('[data-pointer-tool]').forEach((button) => button.addEventListener('click', () => { togglePointer(button.dataset.pointerTool); stage.focus({ preventScroll: true }); }));
stage.addEventListener('pointermove', (event) => {
  if (!rulers.floating || rulers.held) return;
  rulers.draft.points[rulers.draft.points.length - 1] = toFilm(positionOf(event));
  redraw(false);
});
