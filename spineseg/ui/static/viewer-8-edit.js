// The editor's toolbar, keys, handles that the keyboard reaches, and magnifier.
const editor = find('.editor'), note = find('.edit-note'), handles = find('.handles'), loupe = find('.loupe');
const LOUPE = { size: 140, times: 2.5 };
const SMALLEST_ON_SCREEN = 50, SHORTEST_SIDE = 34; // pixels on the screen

function announce(text) {
  note.textContent = text;
  note.hidden = !text;
}

const sayTool = () => announce(shown.a ? say(...toolSentence()) : '');
function toolSentence() {
  const name = props.names[edit.k];
  if (edit.tool === 'corners') return ['sayCorners', { name, n: edit.clicks.length }];
  if (edit.tool !== 'shape') return [edit.tool === 'erase' ? 'sayErase' : 'sayBrush', { name }];
  return [shown.a.vertebrae[edit.k] ? 'saySelected' : 'sayAbsent', { name }];
}

// ---- state ----

function toggleEdit(on = !edit.on) {
  if (on && !shown.a) return;
  if (on) selectPointer(null);
  if (edit.gesture) cancelEdit();
  edit.on = on;
  edit.clicks = [];
  root.toggleAttribute('data-edit', on);
  editor.hidden = !on;
  find('[data-do="edit"]').setAttribute('aria-pressed', on);
  if (!on) announce('');
  else {
    if (!editable(view.mode)) setMode('a');
    if (!shown.a.vertebrae[edit.k]) edit.k = Math.max(0, shown.a.vertebrae.findLastIndex(Boolean));
    selectTool('shape');
    stage.focus({ preventScroll: true });
  }
  redraw(false);
}

function selectVertebra(k) {
  edit.k = k;
  if (!visible[k]) setVisible(k, true);
  refreshEditor();
  sayTool();
}

// Edit a vertebra, and come closer where it is too small on the screen for a finger or a pointer.
function approach(k) {
  selectVertebra(k);
  const box = boxOf(shown.a.vertebrae[k]), size = box && (Math.max(box.bottom - box.top, box.right - box.left) + 1) * view.scale;
  if (!box || size >= SMALLEST_ON_SCREEN) return;
  zoom((3 * SMALLEST_ON_SCREEN) / size);
  const [x, y] = toStage([(box.left + box.right) / 2, (box.top + box.bottom) / 2]);
  move(stage.clientWidth / 2 - x, stage.clientHeight / 2 - y);
}

function selectTool(tool) {
  if (edit.gesture) cancelEdit();
  edit.tool = tool;
  edit.clicks = [];
  refreshEditor();
  sayTool();
}

// Every control of the editor, and the handles of the vertebra that is edited.
function refreshEditor() {
  find('[data-do="edit"]').disabled = !shown.a;
  if (!edit.on) return;
  root.dataset.tool = edit.tool;
  root.dataset.vertebra = edit.k;
  for (const button of all('.editor [role="radio"]')) button.setAttribute('aria-checked', button.dataset.pick === String(edit.k) || button.dataset.tool === edit.tool);
  const present = Boolean(shown.a?.vertebrae[edit.k]);
  for (const [action, usableNow] of Object.entries({ undo: edits.at > 0 || edit.clicks.length > 0, redo: edits.at < edits.steps.length, remove: present, original: Boolean(shown.a?.corrected) }))
    find(`[data-edit-do="${action}"]`).disabled = !usableNow;
  find('.rename').disabled = !present;
  find('.rename').value = edit.k;
  find('.with-brush').hidden = !brushing();
  for (const label of all('.editor .with-shape')) label.hidden = brushing();
  find('.radius').value = edit.radius;
  find('.radius-value').textContent = say('sizeUnit', { size: 2 * edit.radius });
  if (edit.tool === 'corners') sayTool();
  redraw(false);
}

const brushing = () => ['brush', 'erase'].includes(edit.tool);
const setRadius = (radius) => { edit.radius = Math.min(Number(find('.radius').max), Math.max(1, Math.round(radius))); refreshEditor(); };

// One click of four first, then steps.
function undoOnce() {
  if (edit.clicks.pop()) return refreshEditor();
  if (edit.gesture) return cancelEdit();
  undo();
}

// ---- toolbar ----

props.names.slice(0, BACKGROUND).forEach((name, k) => {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', textContent: name });
  button.dataset.pick = k;
  button.setAttribute('role', 'radio');
  button.style.setProperty('--colour', props.colours[k]);
  find('.pick').append(button);
  find('.rename').append(new Option(name, k));
});

const editActions = {
  undo: undoOnce, redo, done: () => toggleEdit(false), original: backToModel,
  remove: () => removeVertebra(edit.k),
};

editor.addEventListener('click', (event) => {
  const button = event.target.closest('[data-pick], [data-tool], [data-edit-do]');
  if (!button) return;
  const { pick, tool, editDo } = button.dataset;
  if (pick) approach(Number(pick));
  else if (tool) selectTool(tool);
  else editActions[editDo]();
});
editor.addEventListener('change', (event) => {
  if (!event.target.matches('.rename')) return;
  const to = Number(event.target.value), from = edit.k;
  if (find('.neighbours').checked) shiftAll(to - from);
  else rename(from, to);
  selectVertebra(shown.a.vertebrae[to] ? to : from);
});
find('.radius').addEventListener('input', (event) => setRadius(Number(event.target.value)));

// ---- keys ----

const editKeys = {
  v: () => selectTool('shape'), b: () => selectTool('brush'), x: () => selectTool('erase'), c: () => selectTool('corners'),
  Delete: editActions.remove, Backspace: editActions.remove, Escape: () => (edit.gesture ? cancelEdit() : edit.clicks.length ? selectTool('corners') : toggleEdit(false)),
  '[': () => setRadius(edit.radius / 1.25 - 0.5), ']': () => setRadius(edit.radius * 1.25 + 0.5),
};

// What a key does while a person edits; nothing for others, which keep their meaning.
function editKey(event) {
  if (!edit.on || !shown.a) return null;
  const k = /^Digit([1-9])$/.exec(event.code)?.[1] - 1, key = keyOf(event);
  if (k < BACKGROUND && !event.shiftKey) return () => selectVertebra(k);
  return ['[', ']'].includes(key) && !brushing() ? null : editKeys[key];
}

// With Control or Command.
const editControlKey = (event) => (shown.a ? { z: event.shiftKey ? redo : undoOnce, y: redo }[keyOf(event)] : null);

// ---- handles for the keyboard; the pointer finds them by their place ----

for (let n = 0; n < 8; n++) {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', hidden: true });
  handles.append(button);
  button.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key], handle = outlineOf(edit.k)?.handles[n];
    if (!step || !handle || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const size = event.shiftKey ? 10 : 1;
    nudge(handle, step[0] * size, step[1] * size);
  });
}

function placeHandles() {
  const found = (edit.on && edit.tool === 'shape' && outlineOf(edit.k)?.handles) || [];
  [...handles.children].forEach((button, n) => {
    button.hidden = !found[n];
    if (!found[n]) return;
    const [x, y] = toStage(found[n].at);
    button.style.transform = `translate(${x}px, ${y}px)`;
    button.setAttribute('aria-label', say(found[n].kind, { name: props.names[edit.k], n: found[n].n + 1 }));
  });
}

// ---- drawing ----

function drawEditor(context) {
  placeHandles();
  if (edit.on && shown.a) drawMarks(context);
  drawLoupe();
}

function drawMarks(context) {
  shown.a.vertebrae.forEach((vertebra, k) => vertebra && visible[k] && strokeTwice(context, vertebra.border, props.colours[k], k === edit.k ? 2 : 1));
  context.save();
  context.setTransform(pixelRatio(), 0, 0, pixelRatio(), 0, 0);
  if (edit.tool === 'shape') shown.a.vertebrae.forEach((vertebra, k) => vertebra && visible[k] && drawHandles(context, k));
  if (edit.tool === 'corners') drawClicks(context);
  if (edit.pointer && edit.byKeys && edit.tool !== 'shape') drawCross(context, edit.pointer);
  if (edit.pointer && brushing()) drawMark(context, edit.pointer, edit.radius * view.scale, 'ring', '#fff');
  context.restore();
}

// The shorter side of a vertebra's box on the screen.
const near = (k) => Math.min(shown.a.vertebrae[k].canvas.width, shown.a.vertebrae[k].canvas.height) * view.scale;

function drawHandles(context, k) {
  for (const { kind, at } of outlineOf(k).handles) {
    if (k === edit.k && (kind === 'corner' || near(k) > SHORTEST_SIDE)) drawMark(context, toStage(at), kind === 'corner' ? 5.5 : 4.5, kind, props.colours[k]);
    else if (k !== edit.k && kind === 'corner') drawMark(context, toStage(at), 2.5, 'side', props.colours[k]);
  }
}

function drawClicks(context) {
  if (edit.clicks.length > 2) {
    context.beginPath();
    for (const point of bodyOutline([...edit.clicks, edit.clicks[2]].slice(0, 4))) context.lineTo(...toStage(point));
    context.closePath();
    context.strokeStyle = props.colours[edit.k];
    context.lineWidth = 1.5;
    if (edit.clicks.length === 4) context.stroke();
  }
  for (const point of edit.clicks) drawMark(context, toStage(point), 5.5, 'corner', props.colours[edit.k]);
}

// Where a keyboard's tool acts.
function drawCross(context, [x, y]) {
  const cross = new Path2D(`M${x - 12} ${y}h24M${x} ${y - 12}v24`);
  for (const [style, width] of [['#000a', 4], ['#fff', 1.5]]) {
    Object.assign(context, { strokeStyle: style, lineWidth: width });
    context.stroke(cross);
  }
}

// A square for a corner, a disc for a side, a ring for the brush.
function drawMark(context, [x, y], size, kind, colour) {
  context.beginPath();
  if (kind === 'corner') context.rect(x - size, y - size, 2 * size, 2 * size);
  else context.ellipse(x, y, size, size * (kind === 'ring' ? shown.tall : 1), 0, 0, 2 * Math.PI);
  context.lineWidth = 3.5;
  context.strokeStyle = '#000a';
  context.stroke();
  context.lineWidth = 2;
  context.strokeStyle = colour;
  context.fillStyle = '#fff';
  if (kind !== 'ring' && !edit.gesture) context.fill(); // while it is dragged the bone shows through
  context.stroke();
}

// What lies under the finger, enlarged, in the corner of the stage that is farther from it.
function drawLoupe() {
  loupe.hidden = !edit.gesture?.touch;
  if (loupe.hidden) return;
  const [x, y] = edit.pointer, ratio = pixelRatio(), { size, times } = LOUPE, part = (size / times) * ratio, context = loupe.getContext('2d');
  loupe.width = loupe.height = size * ratio;
  loupe.classList.toggle('right', x < stage.clientWidth / 2);
  for (const canvas of [filmCanvas, overlayCanvas]) context.drawImage(canvas, x * ratio - part / 2, y * ratio - part / 2, part, part, 0, 0, loupe.width, loupe.height);
  const middle = loupe.width / 2, arm = 9 * ratio, cross = new Path2D(`M${middle - arm} ${middle}h${2 * arm}M${middle} ${middle - arm}v${2 * arm}`);
  for (const [style, width] of [['#000a', 3], ['#fff', 1]]) {
    Object.assign(context, { strokeStyle: style, lineWidth: width * ratio });
    context.stroke(cross);
  }
}

stage.addEventListener('pointermove', (event) => {
  edit.pointer = positionOf(event);
  if (edit.on && edit.tool !== 'shape' && !edit.gesture) redraw(false);
});
stage.addEventListener('pointerleave', () => { edit.pointer = null; if (edit.on) redraw(false); });
