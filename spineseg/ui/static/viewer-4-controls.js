// The viewer's controls: toggles, modes, sliders and keys. viewer.html has their texts and the list of keys.

// ---- a toggle for each channel ----

props.names.forEach((name, k) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = name;
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

const usable = (mode) => ({ a: true, maps: Boolean(shown.a?.maps), otherMaps: Boolean(shown.b?.maps) })[mode] ?? Boolean(shown.a && shown.b);

// Every control that depends on what there is to show.
function refreshControls() {
  find('.hint').hidden = Boolean(shown.bitmap);
  readout.textContent = '';
  root.dataset.masks = shown.a ? 'yes' : 'no';
  root.dataset.other = shown.b ? 'yes' : 'no';
  for (const button of all('[data-download]')) button.disabled = !shown.a || (button.dataset.download === 'seg' && Boolean(shown.noSegmentation));
  find('.no-segmentation').textContent = shown.noSegmentation ? say('noSeg', { reason: shown.noSegmentation }) : '';
  refreshEditor();
  find('.with-lines').hidden = !shown.lines.length;
  find('.modes [data-mode="b"]').textContent = shown.b?.title ?? say('other');
  find('.modes [data-mode="otherMaps"]').textContent = say('otherMaps', { title: shown.b?.title });
  props.names.forEach((name, k) => {
    const button = legend.children[k];
    const absent = Boolean(shown.a) && k !== BACKGROUND && !shown.a.vertebrae[k] && !shown.b?.vertebrae[k];
    button.disabled = !shown.a;
    button.classList.toggle('absent', absent);
    button.title = absent ? say('notFound', { name }) : say('toggle', { name, key: k + 1 });
  });
  setMode(usable(view.mode) ? view.mode : 'a');
}

let blinking = 0;
function setMode(mode) {
  if (!usable(mode)) return;
  if (mode !== 'a' && edit.on) toggleEdit(false);
  view.mode = root.dataset.mode = mode;
  readout.textContent = '';
  for (const button of all('.modes [data-mode]')) {
    button.hidden = !usable(button.dataset.mode);
    button.setAttribute('aria-checked', button.dataset.mode === mode);
  }
  find('.modes').hidden = !usable('maps') && !usable('b');
  find('.divider').hidden = mode !== 'swipe';
  find('.channels').hidden = !showsMaps();
  showMapThumbnails();
  if (mode === 'swipe') setDivider(view.divider ?? spinePosition());
  clearInterval(blinking);
  view.blink = 'a';
  if (mode === 'blink') blinking = setInterval(() => { view.blink = view.blink === 'a' ? 'b' : 'a'; showTitles(); redraw(false); }, 700);
  showTitles();
  showDifferenceKey();
  redraw(false);
}

// Where the spine is, as a fraction of the stage's width: where the swipe divider starts.
function spinePosition() {
  const found = shown.a.vertebrae.filter(Boolean), x = found.reduce((sum, vertebra) => sum + vertebra.x, 0) / found.length;
  return found.length ? (view.x + x * view.scale) / stage.clientWidth : 0.5;
}

// Titles of the masks shown, at the upper edge of the film.
function showTitles() {
  const layers = { swipe: ['a', 'b'], blink: [view.blink], a: ['a'], b: ['b'] }[view.mode] ?? [];
  [find('.layer-title.left'), find('.layer-title.right')].forEach((label, n) => {
    label.textContent = shown.b && layers[n] ? titleOf(shown[layers[n]]) : '';
    label.hidden = !label.textContent;
  });
}

const titleOf = ({ title, undecoded, maps }) => (undecoded && maps ? say('mapsOf', { title, most: maps.most.toFixed(2) }) : title);

function showDifferenceKey() {
  const list = find('.difference-key');
  list.hidden = view.mode !== 'difference';
  if (list.hidden) return;
  const { count } = (shown.difference ||= difference(shown.a.bits, shown.b.bits));
  list.replaceChildren(...props.differences.map((kind, n) => {
    const item = document.createElement('li');
    item.style.setProperty('--colour', kind.colour);
    item.textContent = `${kind.name.replace('{a}', shown.a.title).replace('{b}', shown.b.title)}: ${count[n + 1].toLocaleString('en')} px`;
    return item;
  }));
}

// Probability maps side by side in grey, with their contour at 0.5; a click shows one alone.
function showMapThumbnails() {
  const maps = showsMaps() ? shownMaps() : null, list = find('.channels');
  if (list.of !== shown.a?.maps && list.of !== shown.b?.maps) { // of a film that is gone
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

// ---- buttons and keys ----

const toggle = (selector) => { find(selector).checked = !find(selector).checked; };
const opacityBy = (step) => { find('.opacity').value = Number(find('.opacity').value) + step; redraw(false); };
const help = () => (find('.help').open ? find('.help').close() : find('.help').showModal());
const fullScreen = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());
const panBy = (dx, dy) => (event) => (event.shiftKey && view.mode === 'swipe' ? setDivider(view.divider - dx / 2000) : move(dx, dy));

const actions = {
  edit: () => toggleEdit(), zoomIn: () => zoom(1.4), zoomOut: () => zoom(1 / 1.4), fit, help, fullScreen,
  window: () => { find('.brightness').value = find('.contrast').value = 100; find('.invert').checked = false; applyWindow(); },
};
const keys = {
  '+': () => zoom(1.25), '=': () => zoom(1.25), '-': () => zoom(0.8), f: fit, 0: fit, w: fullScreen,
  a: toggleAll, o: () => setStyle(root.dataset.style === 'fill' ? 'outline' : 'fill'),
  n: () => { toggle('.names'); redraw(false); }, l: () => { toggle('.lines'); redraw(false); }, i: () => { toggle('.invert'); applyWindow(); },
  '[': () => opacityBy(-10), ']': () => opacityBy(10),
  m: () => setMode('a'), b: () => setMode('blink'), s: () => setMode('swipe'), d: () => setMode('difference'), r: () => setMode({ maps: usable('otherMaps') ? 'otherMaps' : 'a', otherMaps: 'a' }[view.mode] ?? 'maps'),
  ArrowLeft: panBy(40, 0), ArrowRight: panBy(-40, 0), ArrowUp: panBy(0, 40), ArrowDown: panBy(0, -40),
};

element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do], .modes [data-mode], .style [data-style], [data-download]');
  if (!button) return;
  const { do: action, mode, style, download: kind } = button.dataset;
  if (action) actions[action]();
  else if (mode) setMode(mode);
  else if (style) setStyle(style);
  else download(kind);
});

// Keys act on the focused stage only, so that typing into a field of the page stays typing.
stage.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target !== stage) return;
  const k = /^Digit([1-9])$/.exec(event.code)?.[1] - 1; // NaN for another key
  const toggleChannel = shown.a && k < props.names.length && (() => (event.shiftKey ? showOnly(k) : setVisible(k, !visible[k])));
  const action = cursorKey(event) || editKey(event) || toggleChannel || keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action(event);
});
document.addEventListener('keydown', (event) => {
  if (event.key !== '?' || !root.isConnected || event.target.closest?.('textarea, input:not([type="range"], [type="checkbox"])')) return;
  event.preventDefault();
  help();
});
element.addEventListener('input', (event) => {
  if (event.target.matches('.brightness, .contrast, .invert')) applyWindow();
  else redraw(false);
});
document.addEventListener('spineseg:language', () => {
  find('.channels').of = undefined; // their labels
  refreshControls();
  if (edit.on) sayTool();
});
