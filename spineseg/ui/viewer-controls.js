// The viewer, part 4 of 5: switches, modes, sliders, keys and the help that lists them.

// ---- switches of the seven channels ----

props.names.forEach((name, k) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = name;
  button.dataset.channel = k;
  button.style.setProperty('--colour', props.colours[k]);
  button.setAttribute('role', 'switch');
  button.setAttribute('aria-checked', on[k]);
  button.addEventListener('click', (event) => (event.shiftKey ? alone(k) : turnTo(k, !on[k])));
  legend.append(button);
});

function turnTo(k, state) {
  on[k] = state;
  legend.children[k].setAttribute('aria-checked', state);
  find('.channels').children[k]?.setAttribute('aria-pressed', state);
  redraw(false);
}

function alone(k) {
  const already = on.every((state, other) => state === (other === k));
  props.names.forEach((_, other) => turnTo(other, already ? other !== BACKGROUND : other === k));
}

function turnAll() {
  const state = !on.slice(0, BACKGROUND).every(Boolean);
  for (let k = 0; k < BACKGROUND; k++) turnTo(k, state);
}

// ---- modes: masks, the other masks, swipe, blink, difference, raw ----

const usable = (mode) => ({ a: true, raw: Boolean(shown.a?.raw), rawb: Boolean(shown.b?.raw) })[mode] ?? Boolean(shown.a && shown.b);

// All that depends on what is there to be shown.
function settle() {
  find('.hint').hidden = Boolean(shown.bitmap);
  readout.textContent = '';
  root.dataset.masks = shown.a ? 'yes' : 'no';
  root.dataset.other = shown.b ? 'yes' : 'no';
  for (const button of all('[data-take]')) button.disabled = !shown.a;
  find('.with-lines').hidden = !shown.lines.length;
  find('.modes [data-mode="b"]').textContent = shown.b?.title ?? 'Other';
  find('.modes [data-mode="rawb"]').textContent = `Raw: ${shown.b?.title}`;
  props.names.forEach((name, k) => {
    const button = legend.children[k];
    const absent = Boolean(shown.a) && k !== BACKGROUND && !shown.a.bones[k] && !shown.b?.bones[k];
    button.disabled = !shown.a;
    button.classList.toggle('absent', absent);
    button.title = absent ? `${name}: not found` : `${name} on or off (${k + 1}); with Shift, alone`;
  });
  enter(usable(view.mode) ? view.mode : 'a');
}

let blinking = 0;
function enter(mode) {
  if (!usable(mode)) return;
  view.mode = root.dataset.mode = mode;
  readout.textContent = '';
  for (const button of all('.modes [data-mode]')) {
    button.hidden = !usable(button.dataset.mode);
    button.setAttribute('aria-checked', button.dataset.mode === mode);
  }
  find('.modes').hidden = !usable('raw') && !usable('b');
  find('.divider').hidden = mode !== 'swipe';
  find('.channels').hidden = !isRaw();
  strip();
  if (mode === 'swipe') split(view.split ?? middle());
  clearInterval(blinking);
  view.blink = 'a';
  if (mode === 'blink') blinking = setInterval(() => { view.blink = view.blink === 'a' ? 'b' : 'a'; title(); redraw(false); }, 700);
  title();
  key();
  redraw(false);
}

// Where the spine is, as a share of the stage: the best place for the swipe line to begin.
function middle() {
  const found = shown.a.bones.filter(Boolean), x = found.reduce((sum, bone) => sum + bone.x, 0) / found.length;
  return found.length ? (view.x + x * view.scale) / stage.clientWidth : 0.5;
}

// Whose masks are seen, at the upper edge of the film.
function title() {
  const sides = { swipe: ['a', 'b'], blink: [view.blink], a: ['a'], b: ['b'] }[view.mode] ?? [];
  [find('.side.left'), find('.side.right')].forEach((label, n) => {
    label.textContent = shown.b && sides[n] ? caption(shown[sides[n]]) : '';
    label.hidden = !label.textContent;
  });
}

const caption = ({ title, undecoded, raw }) => (undecoded && raw ? `${title}: raw channels, at most ${raw.most.toFixed(2)}` : title);

function key() {
  const list = find('.key');
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

// The network's six channels side by side, grey as probable, with the line at 0.5; a press shows that one alone.
function strip() {
  const raw = isRaw() ? rawShown() : null, list = find('.channels');
  if (list.of !== shown.a?.raw && list.of !== shown.b?.raw) { // of a film that is gone
    list.of = undefined;
    list.replaceChildren();
  }
  if (!raw || list.of === raw) return;
  list.of = raw;
  list.replaceChildren(...props.names.slice(0, BACKGROUND).map((name, k) => {
    const button = document.createElement('button'), canvas = document.createElement('canvas'), label = document.createElement('span');
    const { rows, columns } = raw, values = raw.values.subarray(k * rows * columns, (k + 1) * rows * columns);
    canvas.width = columns; canvas.height = rows;
    const context = canvas.getContext('2d'), image = context.createImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
    const gain = gainOf(raw);
    let above = 0, top = 0;
    for (let i = 0; i < pixels.length; i++) {
      const grey = values[i] * gain;
      pixels[i] = packed([grey, grey, grey]);
      above += values[i] > 127.5;
      top = Math.max(top, values[i]);
    }
    context.putImageData(image, 0, 0);
    context.setTransform(columns / raw.width, 0, 0, rows / raw.height, (-raw.left * columns) / raw.width, (-raw.top * rows) / raw.height);
    context.strokeStyle = props.colours[k];
    context.lineWidth = (3 * raw.width) / columns;
    context.stroke(channel(raw, k).border);
    label.textContent = `${name}: up to ${(top / 255).toFixed(2)}, ${((100 * above) / pixels.length).toFixed(1)} % above 0.5`;
    button.type = 'button';
    button.style.setProperty('--colour', props.colours[k]);
    button.setAttribute('aria-pressed', on[k]);
    button.append(canvas, label);
    button.addEventListener('click', () => alone(k));
    return button;
  }));
}

function drawnAs(style) {
  root.dataset.style = style;
  for (const button of all('[data-style]')) button !== root && button.setAttribute('aria-checked', button.dataset.style === style);
  redraw(false);
}

// ---- presses and keys ----

const flip = (selector) => { find(selector).checked = !find(selector).checked; };
const opacityBy = (step) => { find('.opacity').value = Number(find('.opacity').value) + step; redraw(false); };
const help = () => (find('.help').open ? find('.help').close() : find('.help').showModal());
const full = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());
const steps = (dx, dy) => (event) => (event.shiftKey && view.mode === 'swipe' ? split(view.split - dx / 2000) : move(dx, dy));

const actions = {
  closer: () => zoom(1.4), farther: () => zoom(1 / 1.4), fit, help, full,
  window: () => { find('.brightness').value = find('.contrast').value = 100; find('.invert').checked = false; windowed(); },
};
const keys = {
  '+': () => zoom(1.25), '=': () => zoom(1.25), '-': () => zoom(0.8), f: fit, 0: fit, w: full,
  a: turnAll, o: () => drawnAs(root.dataset.style === 'fill' ? 'outline' : 'fill'),
  n: () => { flip('.names'); redraw(false); }, l: () => { flip('.lines'); redraw(false); }, i: () => { flip('.invert'); windowed(); },
  '[': () => opacityBy(-10), ']': () => opacityBy(10),
  m: () => enter('a'), b: () => enter('blink'), s: () => enter('swipe'), d: () => enter('difference'), r: () => enter({ raw: usable('rawb') ? 'rawb' : 'a', rawb: 'a' }[view.mode] ?? 'raw'),
  ArrowLeft: steps(40, 0), ArrowRight: steps(-40, 0), ArrowUp: steps(0, 40), ArrowDown: steps(0, -40),
};

element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do], .modes [data-mode], .style [data-style], [data-take]');
  if (!button) return;
  const { do: action, mode, style, take: kind } = button.dataset;
  if (action) actions[action]();
  else if (mode) enter(mode);
  else if (style) drawnAs(style);
  else takeAway(kind);
});

// One key for each switch; typing into a field of the page stays typing.
stage.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target !== stage) return;
  const digit = /^Digit([1-7])$/.exec(event.code)?.[1];
  const channel = digit && shown.a && ((k) => (event.shiftKey ? alone(k) : turnTo(k, !on[k])));
  const act = channel ? () => channel(digit - 1) : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act(event);
});
document.addEventListener('keydown', (event) => {
  if (event.key !== '?' || !root.isConnected || event.target.closest?.('textarea, input:not([type="range"], [type="checkbox"])')) return;
  event.preventDefault();
  help();
});
element.addEventListener('input', (event) => {
  if (event.target.matches('.brightness, .contrast, .invert')) windowed();
  else redraw(false);
});
