// Radio groups as a keyboard has them, and a cursor on the film for tools that act at a place.

// ---- radio groups: one stop for Tab; arrow keys choose. Source: WAI-ARIA Authoring Practices, radio group ----

const ARROWS = { ArrowRight: [1, 0], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowUp: [0, -1] };
const radiosOf = (group) => [...group.querySelectorAll('[role="radio"]')].filter((radio) => !radio.hidden && !radio.disabled);

function markTabStops() {
  for (const group of all('[role="radiogroup"]')) {
    const radios = radiosOf(group), stop = radios.find((radio) => radio.getAttribute('aria-checked') === 'true') ?? radios[0];
    for (const radio of radios) radio.tabIndex = radio === stop ? 0 : -1;
  }
}
new MutationObserver(markTabStops).observe(root, { subtree: true, attributeFilter: ['aria-checked', 'hidden', 'disabled'] });
markTabStops();

element.addEventListener('keydown', (event) => {
  const group = event.target.closest('[role="radiogroup"]'), step = ARROWS[event.key];
  if (!group || !step || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const radios = radiosOf(group), next = radios.at((radios.indexOf(event.target) + step[0] + step[1]) % radios.length);
  next.click();
  next.focus();
});

// ---- a cursor: with the brush, the eraser and the four corners, arrows move it and Enter or Space acts there ----

const CURSOR_STEP = 4, CURSOR_LEAP = 40; // pixels on the screen; with Shift

// Moves the film where the cursor would leave the stage.
function moveCursor(dx, dy) {
  const size = [stage.clientWidth, stage.clientHeight], from = edit.pointer ?? size.map((side) => side / 2);
  const to = [from[0] + dx, from[1] + dy], within = to.map((at, n) => Math.min(size[n] - 1, Math.max(0, at)));
  if (to[0] !== within[0] || to[1] !== within[1]) move(within[0] - to[0], within[1] - to[1]);
  edit.pointer = within;
  edit.byKeys = true;
  updateReadout(within);
  redraw(false);
}

function actAtCursor() {
  if (!edit.pointer) moveCursor(0, 0);
  if (beginEdit({ button: 0, pointerType: 'mouse' }, edit.pointer)) endEdit();
}

// What a key does on the stage with one of these tools; nothing for other keys.
function cursorKey(event) {
  if (event.target !== stage || !edit.on || edit.tool === 'shape' || edit.gesture) return null;
  const step = ARROWS[event.key], size = event.shiftKey ? CURSOR_LEAP : CURSOR_STEP;
  if (step) return () => moveCursor(step[0] * size, step[1] * size);
  return ['Enter', ' '].includes(event.key) ? actAtCursor : null;
}

stage.addEventListener('pointermove', () => { edit.byKeys = false; });

// ---- single keys: everywhere, or in the viewer alone where a person wants so. Source: WCAG 2.2, 2.1.4 ----

const KEYS_IN_VIEWER = 'spineseg-keys-in-viewer';
const singleKeys = find('.single-keys');
try {
  singleKeys.checked = localStorage.getItem(KEYS_IN_VIEWER) === null;
} catch {} // a browser that stores nothing
singleKeys.addEventListener('change', () => {
  try {
    if (singleKeys.checked) localStorage.removeItem(KEYS_IN_VIEWER);
    else localStorage.setItem(KEYS_IN_VIEWER, 'yes');
  } catch {} // for this page only
});
const isMeant = (event) => singleKeys.checked || event.ctrlKey || event.metaKey || root.contains(event.target);
