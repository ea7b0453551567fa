// Measurement lines: all of them, or those of the row that is hovered or focused in the table. A line under the pointer shows
// its figures.
const PICKED = '#ffd23f';
const lineNote = find('.line-note');
view.pickedLines = [];

const isPicked = (line) => line === view.hoveredLine || view.pickedLines.includes(line.name);
const isVisible = (line) => find('.lines').checked && (line.vertebra === undefined || visible[line.vertebra]);
const drawnLines = () => (showsMaps() ? [] : shown.lines.filter((line) => isPicked(line) || isVisible(line)));

function drawLines(context) {
  const drawn = drawnLines();
  for (const line of [...drawn.filter((each) => !isPicked(each)), ...drawn.filter(isPicked)]) {
    const path = new Path2D(), [[top, left], [bottom, right]] = [line.start, line.end];
    path.moveTo(left + 0.5, top + 0.5);
    path.lineTo(right + 0.5, bottom + 0.5);
    strokeTwice(context, path, isPicked(line) ? PICKED : '#fff', isPicked(line) ? 3.2 : 1.4);
  }
}

// The measurement line within six pixels of the pointer.
function lineAt(x, y) {
  hoverLine(drawnLines().find((line) => distance(line, x, y) < 6), x, y);
  return view.hoveredLine?.title;
}

function hoverLine(line, x, y) {
  if (line !== view.hoveredLine) {
    view.hoveredLine = line;
    lineNote.replaceChildren(...(line?.figures ?? []).map((text) => Object.assign(document.createElement('li'), { textContent: text })));
    lineNote.hidden = !line?.figures.length;
    document.dispatchEvent(new CustomEvent('spineseg:line-hovered', { detail: line?.name ?? null }));
    redraw(false);
  }
  if (line) placeNote(x, y);
}

// Beside the pointer, inside of the stage.
function placeNote(x, y) {
  const left = x + 16 + lineNote.offsetWidth > stage.clientWidth ? x - 16 - lineNote.offsetWidth : x + 16;
  lineNote.style.left = `${Math.max(4, left)}px`;
  lineNote.style.top = `${Math.max(4, Math.min(y + 12, stage.clientHeight - lineNote.offsetHeight - 4))}px`;
}

function distance(line, x, y) {
  const [[ax, ay], [bx, by]] = [line.start, line.end].map(([row, column]) => toStage([column + 0.5, row + 0.5]));
  const length = Math.hypot(bx - ax, by - ay) || 1;
  const along = Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length ** 2));
  return Math.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay));
}

stage.addEventListener('pointerleave', (event) => { if (event.pointerType !== 'touch') hoverLine(undefined); });
document.addEventListener('spineseg:lines-picked', ({ detail: names }) => { view.pickedLines = names; redraw(false); });
document.addEventListener('spineseg:film-changed', () => hoverLine(undefined));
