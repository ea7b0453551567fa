// The table of measurements: copied by one press. A row that is hovered or has the focus draws its lines on the film, and
// a line that is hovered on the film marks its rows.
const rowOf = (event) => event.target.closest('[data-lines]');
const rows = () => [...element.querySelectorAll('[data-lines]')];
const focused = () => element.querySelector('[data-lines]:focus');
let picked = null;

function pickRow(row) {
  if (row === picked) return;
  picked = row;
  document.dispatchEvent(new CustomEvent('spineseg:lines-picked', { detail: row ? JSON.parse(row.dataset.lines) : [] }));
}

// One stop of the Tab key; arrows go from row to row.
function stopAt(row) {
  for (const each of rows()) each.tabIndex = each === row ? 0 : -1;
}

element.addEventListener('pointerover', (event) => pickRow(rowOf(event) ?? focused()));
element.addEventListener('pointerleave', () => pickRow(focused()));
element.addEventListener('focusin', (event) => { if (rowOf(event)) { stopAt(rowOf(event)); pickRow(rowOf(event)); } });
element.addEventListener('focusout', () => pickRow(null));
element.addEventListener('keydown', (event) => {
  const all = rows(), n = all.indexOf(rowOf(event));
  const to = n < 0 ? undefined : { ArrowDown: n + 1, ArrowUp: n - 1, Home: 0, End: all.length - 1 }[event.key];
  if (!all[to]) return;
  event.preventDefault();
  all[to].focus();
});
element.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  await copyText(button.dataset.copy);
  button.parentElement.querySelector('[role="status"]').textContent = button.dataset.copied;
});
document.addEventListener('spineseg:line-hovered', ({ detail: name }) => {
  for (const row of rows()) row.classList.toggle('hovered', name !== null && JSON.parse(row.dataset.lines).includes(name));
});
document.addEventListener('spineseg:film-changed', () => pickRow(null));
