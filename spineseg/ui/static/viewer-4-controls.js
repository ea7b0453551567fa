// The viewer's controls: toggles, modes, sliders and keys. viewer.html has their texts and the list of keys.

// ---- a toggle for each channel ----

const channelName = (k) => (k === BACKGROUND ? say('background') : props.names[k]);

props.names.forEach((_, k) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = channelName(k);
  button.dataset.channel = k;
  button.style.setProperty('--colour', props.colours[k]);
  button.setAttribute('role', 'switch');
  button.setAttribute('aria-checked', visible[k]);
  button.addEventListener('click', (event) => (event.shiftKey ? showOnly(k) : setVisible(k, !visible[k])));
  legend.append(button);
});

function setVisible(k, state) {
  visible[k] = state;
  legend.children[k].setAttribute('aria-checked', state);
  find('.channels').children[k]?.setAttribute('aria-pressed', state);
  showKey();
  redraw(false);
}

function showOnly(k) {
  const already = visible.every((state, other) => state === (other === k));
  props.names.forEach((_, other) => setVisible(other, already ? other !== BACKGROUND : other === k));
}

function toggleAll() {
  const state = !visible.slice(0, BACKGROUND).every(Boolean);
  for (let k = 0; k < BACKGROUND; k++) setVisible(k, state);
}

// ---- modes ----

const apartFromFilm = (name) => comparable() && sideOf(name) !== shown.a;
const hasMaps = (layer) => Boolean(layer?.maps) && layer.title !== shown.a?.title;
const USABLE = {
  a: () => true, maps: () => Boolean(shown.a?.maps), sideA: () => apartFromFilm('A'), sideB: () => apartFromFilm('B'),
  mapsA: () => hasMaps(sideOf('A')), mapsB: () => hasMaps(sideOf('B')),
};
const usable = (mode) => (USABLE[mode] ?? comparable)();
const editable = (mode) => mode === 'a' || (mode === 'contours' && [sideOf('A'), sideOf('B')].includes(shown.a));

// Every control that depends on what there is to show.
function refreshControls() {
  find('.hint').hidden = Boolean(shown.bitmap || props.value);
  find('.example').hidden = !shown.name || comparable();
  readout.textContent = '';
  root.dataset.masks = shown.a ? 'yes' : 'no';
  root.dataset.compared = comparable() ? 'yes' : 'no';
  for (const button of all('[data-download]')) button.disabled = !shown.a || (button.dataset.download === 'seg' && Boolean(shown.noSegmentation));
  find('.no-segmentation').textContent = shown.noSegmentation ? say('noSeg', { reason: shown.noSegmentation }) : '';
  refreshEditor();
  refreshWindow();
  for (const button of all('[data-pointer-tool]')) button.disabled = !shown.film;
  find('.with-lines').hidden = !shown.lines.length;
  for (const name of ['A', 'B']) {
    find(`.modes [data-mode="side${name}"]`).textContent = say('sideTitled', { side: name, title: titleOf(sideOf(name)) });
    find(`.modes [data-mode="maps${name}"]`).textContent = say('mapsOf', { title: titleOf(sideOf(name)) });
  }
  props.names.forEach((name, k) => {
    const button = legend.children[k];
    const absent = Boolean(shown.a) && k !== BACKGROUND && !shown.a.vertebrae[k] && !sideOf('A')?.vertebrae[k] && !sideOf('B')?.vertebrae[k];
    button.disabled = !shown.a && !comparable();
    button.classList.toggle('absent', absent);
    button.title = absent ? say('notFound', { name }) : say('toggle', { name: channelName(k), key: k + 1 });
  });
  setMode(usable(view.mode) ? view.mode : 'a');
}

let blinking = 0;
function setMode(mode) {
  if (!usable(mode)) return;
  if (!editable(mode) && edit.on) toggleEdit(false);
  view.mode = root.dataset.mode = mode;
  readout.textContent = '';
  for (const button of all('.modes [data-mode]')) {
    button.hidden = !usable(button.dataset.mode);
    button.setAttribute('aria-checked', button.dataset.mode === mode);
  }
  find('.modes').hidden = !usable('maps') && !comparable();
  find('.divider').hidden = mode !== 'swipe';
  find('.channels').hidden = !showsMaps();
  showMapThumbnails();
  if (mode === 'swipe') setDivider(view.divider ?? spinePosition());
  clearInterval(blinking);
  view.blink = 'A';
  if (mode === 'blink') blinking = setInterval(() => { view.blink = view.blink === 'A' ? 'B' : 'A'; showTitles(); redraw(false); }, 700);
  showTitles();
  showKey();
  redraw(false);
}

// Where the spine is, as a fraction of the stage's width: where the swipe divider starts.
function spinePosition() {
  const found = (sideOf('A') ?? shown.a).vertebrae.filter(Boolean), x = found.reduce((sum, vertebra) => sum + vertebra.x, 0) / found.length;
  return found.length ? (view.x + x * view.scale) / stage.clientWidth : 0.5;
}

// Which masks are shown, at the upper edge of the film.
function showTitles() {
  const names = comparable() ? { swipe: ['A', 'B'], blink: [view.blink], sideA: ['A'], sideB: ['B'] }[view.mode] ?? [] : [];
  [find('.layer-title.left'), find('.layer-title.right')].forEach((label, n) => {
    label.textContent = names[n] ? say('sideTitled', { side: names[n], title: titleWithMaps(sideOf(names[n])) }) : '';
    label.hidden = !label.textContent;
  });
}

const titleOf = (layer) => (layer === shown.a && layer?.corrected ? say('asCorrected', layer) : layer?.title ?? '');
const titleWithMaps = (layer) => (layer.undecoded && layer.maps ? say('mapsTitled', { title: layer.title, most: layer.maps.most.toFixed(2) }) : titleOf(layer));

// What the colours of a difference and of two outlines mean.
function showKey() {
  const list = find('.difference-key'), sides = { onlyA: 'A', onlyB: 'B' };
  list.hidden = !bothShown();
  if (list.hidden) return;
  const outlines = view.mode === 'contours', count = outlines ? {} : difference().count;
  list.replaceChildren(...props.differences.filter(({ name }) => !outlines || sides[name]).map(({ name, colour }) => {
    const item = document.createElement('li');
    item.style.setProperty('--colour', colour);
    item.classList.toggle('line', outlines);
    item.classList.toggle('dashed', outlines && sides[name] === 'B');
    item.textContent = outlines ? say('sideTitled', { side: sides[name], title: titleOf(sideOf(sides[name])) }) : say(name, { count: count[name].toLocaleString('en') });
    return item;
  }));
}

// Probability maps side by side in grey, with their contour at 0.5; a click shows one alone.
function showMapThumbnails() {
  const maps = showsMaps() ? shownMaps() : null, list = find('.channels');
  if (![shown.a, sideOf('A'), sideOf('B')].some((layer) => layer?.maps === list.of)) { // of a film that is gone
    list.of = undefined;
    list.replaceChildren();
  }
  if (!maps || list.of === maps) return;
  list.of = maps;
  list.replaceChildren(...props.names.slice(0, BACKGROUND).map((name, k) => {
    const button = document.createElement('button'), canvas = document.createElement('canvas'), label = document.createElement('span');
    const { rows, columns } = maps, values = maps.values.subarray(k * rows * columns, (k + 1) * rows * columns);
    canvas.width = columns; canvas.height = rows;
    const context = canvas.getContext('2d'), image = context.createImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
    const gain = gainOf(maps);
    let above = 0, top = 0;
    for (let i = 0; i < pixels.length; i++) {
      const grey = values[i] * gain;
      pixels[i] = pixelOf([grey, grey, grey]);
      above += values[i] > 127.5;
      top = Math.max(top, values[i]);
    }
    context.putImageData(image, 0, 0);
    context.setTransform(columns / maps.width, 0, 0, rows / maps.height, (-maps.left * columns) / maps.width, (-maps.top * rows) / maps.height);
    context.strokeStyle = props.colours[k];
    context.lineWidth = (3 * maps.width) / columns;
    context.stroke(mapPicture(maps, k).border);
    label.textContent = say('mapSummary', { name, most: (top / 255).toFixed(2), percent: ((100 * above) / pixels.length).toFixed(1) });
    button.type = 'button';
    button.style.setProperty('--colour', props.colours[k]);
    button.setAttribute('aria-pressed', visible[k]);
    button.append(canvas, label);
    button.addEventListener('click', () => showOnly(k));
    return button;
  }));
}

function setStyle(style) {
  root.dataset.style = style;
  for (const button of all('.style [data-style]')) button.setAttribute('aria-checked', button.dataset.style === style);
  redraw(false);
}

// What was set for one film is not meant for the next.
function resetView() {
  for (const input of all('.controls input')) {
    input.value = input.defaultValue;
    input.checked = input.defaultChecked;
  }
  setStyle('fill');
  props.names.forEach((_, k) => setVisible(k, k !== BACKGROUND));
  view.mode = 'a';
}

// ---- buttons and keys ----

const toggle = (selector) => { find(selector).checked = !find(selector).checked; };
const opacityBy = (step) => { find('.opacity').value = Number(find('.opacity').value) + step; redraw(false); };
const help = () => (find('.help').open ? find('.help').close() : find('.help').showModal());
const fullScreen = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());
const nextMaps = () => {
  const modes = [...Object.keys(MAPS).filter(usable), 'a'];
  setMode(modes[(modes.indexOf(view.mode) + 1) % modes.length]);
};
const panBy = (dx, dy) => (event) => (event.shiftKey && view.mode === 'swipe' ? setDivider(view.divider - dx / 2000) : move(dx, dy));

const actions = {
  edit: () => toggleEdit(), zoomIn: () => zoom(1.4), zoomOut: () => zoom(1 / 1.4), fit, help, fullScreen,
  chooseFilm: () => document.dispatchEvent(new CustomEvent('spineseg:choose-film')),
};
const keys = {
  '+': () => zoom(1.25), '=': () => zoom(1.25), '-': () => zoom(0.8), f: fit, 0: fit, w: fullScreen,
  a: toggleAll, e: () => toggleEdit(), o: () => setStyle(root.dataset.style === 'fill' ? 'outline' : 'fill'),
  n: () => { toggle('.names'); redraw(false); }, l: () => { toggle('.lines'); redraw(false); }, i: () => { toggle('.invert'); redraw(); },
  g: () => togglePointer('window'), t: () => togglePointer('ruler'), v: () => togglePointer('angle'), k: () => togglePointer('cobb'),
  '[': () => opacityBy(-10), ']': () => opacityBy(10),
  m: () => setMode('a'), b: () => setMode('blink'), s: () => setMode('swipe'), d: () => setMode('difference'), c: () => setMode('contours'),
  ',': () => setMode('sideA'), '.': () => setMode('sideB'), r: nextMaps,
  ArrowLeft: panBy(40, 0), ArrowRight: panBy(-40, 0), ArrowUp: panBy(0, 40), ArrowDown: panBy(0, -40),
};

element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do], .modes [data-mode], .style [data-style], [data-download], [data-preset]');
  if (!button) return;
  const { do: action, mode, style, preset, download: kind } = button.dataset;
  if (preset) setPreset(preset);
  else if (action) actions[action]();
  else if (mode) setMode(mode);
  else if (style) setStyle(style);
  else download(kind);
});

// Keys act anywhere but in fields and dialogs; arrows only on the focused film, as elsewhere they scroll the page.
const typing = (target) => target.closest?.('textarea, select, [contenteditable], input:not([type="range"], [type="checkbox"], [type="radio"], [type="file"])');
const leaving = (event) => event.key === 'Escape' && root.contains(event.target); // a list of the editor
document.addEventListener('keydown', (event) => {
  if (!root.isConnected || event.defaultPrevented || !isMeant(event) || (typing(event.target) && !leaving(event))) return;
  const action = event.key === '?' ? help : document.querySelector('dialog[open]') ? null : event.ctrlKey || event.metaKey ? editControlKey(event) : keyAction(event);
  if (!action || event.altKey) return;
  event.preventDefault();
  action(event);
});

// The letter of a key in lower case: of a keyboard for another script the Latin one at its place.
function keyOf({ key, code }) {
  const place = /^Key([A-Z])$/.exec(code)?.[1];
  if (place && (key === 'Process' || (key.length === 1 && key > '\x7f'))) return place.toLowerCase();
  return key.length === 1 ? key.toLowerCase() : key;
}

function keyAction(event) {
  if (event.key.startsWith('Arrow') && event.target !== stage) return null;
  const k = /^Digit([1-9])$/.exec(event.code)?.[1] - 1; // NaN for another key
  const toggleChannel = shown.a && k < props.names.length && (() => (event.shiftKey ? showOnly(k) : setVisible(k, !visible[k])));
  return cursorKey(event) || editKey(event) || (event.target === stage && rulerKey(event)) || toggleChannel || keys[keyOf(event)];
}

element.addEventListener('input', (event) => {
  if (event.target.matches('.level, .width')) typedWindow();
  else redraw(event.target.matches('.invert'));
});
document.addEventListener('spineseg:language', () => {
  find('.channels').of = undefined; // their labels
  legend.children[BACKGROUND].textContent = channelName(BACKGROUND);
  refreshControls();
  if (edit.on) sayTool();
});
