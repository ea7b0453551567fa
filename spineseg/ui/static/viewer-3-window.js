// Window level and width, in the film's own values: by dragging, numbers and presets.
const FASTEST = 1 / 400; // of the first window's width, for each pixel of a drag
const AIR = 0.05; // share of the first window below which nothing of the patient is seen
const BONE_MARGIN = 0.3; // beyond the values of the vertebrae, as a share of their range: neighbouring bone and discs

const spanned = (black, white) => {
  const whole = shown.about.function === 'LINEAR' ? 1 : 0, width = Math.max(white - black, whole || (shown.about.high - shown.about.low) * 1e-6);
  return { level: (black + white + whole) / 2, width: width + whole, function: shown.about.function };
};
const defaultWindow = () => spanned(shown.about.black, shown.about.white);
const bestValues = () => shown.values ?? pictureValues();
const ofBox = (box, shares, take) => { const found = quantiles(bestValues(), box, shares, take); return found && spanned(...found); };

const fieldBox = () => { const [top, bottom, left, right] = shown.about.field; return { left, top, right, bottom }; };
// The part of the radiograph that is in view.
function boxInView() {
  const field = fieldBox(), [left, top] = toFilm([0, 0]).map(Math.floor), [right, bottom] = toFilm([stage.clientWidth, stage.clientHeight]).map(Math.ceil);
  const box = { left: Math.max(field.left, left), top: Math.max(field.top, top), right: Math.min(field.right, right), bottom: Math.min(field.bottom, bottom) };
  return box.right - box.left > 1 && box.bottom - box.top > 1 ? box : field;
}

function boneWindow() {
  const box = shown.a && boxOfAll();
  if (!box) return ofBox(fieldBox(), [0.5, 0.998]);
  const found = quantiles(bestValues(), { ...box, right: box.right + 1, bottom: box.bottom + 1 }, [0.02, 0.98], (i) => shown.a.bits[i]);
  if (!found) return ofBox(fieldBox(), [0.5, 0.998]);
  const margin = BONE_MARGIN * (found[1] - found[0]);
  return spanned(found[0] - margin, found[1] + margin);
}

// The darker part of what is not air.
function softWindow() {
  const { levels: [{ codes }], at } = bestValues(), { black, white } = shown.about, air = black + AIR * (white - black);
  return ofBox(fieldBox(), [0.005, 0.6], (i) => at[codes[i]] > air);
}

const PRESETS = {
  default: defaultWindow, file: () => shown.about.own, bone: boneWindow, soft: softWindow,
  full: () => spanned(shown.about.low, shown.about.high), auto: () => ofBox(boxInView(), [0.01, 0.995]),
};

const inverted = () => find('.invert').checked;
const isDefault = () => view.preset === 'default' && !inverted();

function setPreset(preset) {
  const found = shown.about && PRESETS[preset]();
  if (found) setWindow(found, preset);
}

function setWindow(window, preset = null) {
  const least = window.function === 'LINEAR' ? 1 : (shown.about.high - shown.about.low) * 1e-6;
  Object.assign(view, { window: { ...window, width: Math.max(window.width, least) }, preset });
  refreshWindow();
  redraw();
}

// A new film: nothing stays of the last one's window.
function resetWindow() {
  find('.invert').checked = false;
  Object.assign(view, shown.about ? { window: defaultWindow(), preset: 'default' } : { window: null, preset: null });
  refreshWindow();
}

// dx, dy: pixels of a drag; up is brighter, to the right wider.
function changeWindow(dx, dy) {
  if (!view.window) return;
  const step = defaultWindow().width * FASTEST;
  setWindow({ ...view.window, level: view.window.level + dy * step, width: view.window.width + dx * step });
}

const digits = () => { const { low, high } = shown.about; return shown.about.function === 'LINEAR' && high - low > 100 ? 0 : Math.max(0, 3 - Math.floor(Math.log10(high - low))); };
const shownValue = (value) => String(Number(value.toPrecision(7)));

function refreshWindow() {
  const { window } = view, missing = !window;
  for (const [name, value] of [['level', window?.level], ['width', window?.width]]) {
    const input = find(`.${name}`);
    input.disabled = missing;
    if (missing) input.value = '';
    else if (document.activeElement !== input) Object.assign(input, { value: value.toFixed(digits()), step: 10 ** -digits() });
  }
  find('.invert').disabled = missing;
  for (const button of all('[data-preset]')) {
    button.disabled = missing;
    button.hidden = button.dataset.preset === 'file' && !shown.about?.own;
    button.setAttribute('aria-pressed', button.dataset.preset === view.preset);
  }
  const { values: state } = root.dataset;
  find('.window-note').textContent = missing || state === 'own' ? '' : say(state === 'picture' ? 'windowPicture' : 'windowLoading');
}

function typedWindow() {
  const level = Number(find('.level').value), width = Number(find('.width').value);
  if (Number.isFinite(level) && width > 0) setWindow({ function: shown.about.function, level, width });
}

// The value under the pointer, once the film's own are there.
function valueText(row, column) {
  if (!shown.values) return '';
  const { levels: [{ codes }], at, exact } = shown.values, value = at[codes[row * shown.columns + column]];
  return say(exact ? 'value' : 'valueRounded', { value: shownValue(value) });
}
