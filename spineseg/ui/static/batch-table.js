// The tables of several films: films.csv, and measurements.csv with the columns that `predict --measure` writes.
const TABLES = { films: 'films.csv', measurements: 'measurements.csv' };
const isNumber = (text) => /^-?[\d.]+(e[+-]?\d+)?$/.test(text);
const plain = (value) => { const text = String(value ?? ''); return isNumber(text) ? text : text.replace(/^[=+\-@\t\r]/, "'$&"); }; // a name must not become a formula
const csvText = (rows) => rows.map((row) => row.map((value) => `"${plain(value).replaceAll('"', '""')}"`).join(',')).join('\r\n') + '\r\n';
const tabbed = (rows) => rows.map((row) => row.map((value) => plain(value).replace(/[\t\r\n]+/g, ' ')).join('\t')).join('\n') + '\n';

function filmRows(films) {
  const head = ['file', 'rows', 'columns', 'verdict', 'reasons', 'shift', 'shift_likelihood', 'remarks', ...props.names, 'seconds', 'error'];
  const lines = films.map(({ name, row }) => [name, row.rows, row.columns, row.verdict, row.reasons, ...(row.shift ?? ['', '']), row.remarks, ...props.names.map((_, k) => (row.present ? Number(row.present[k]) : '')), row.seconds, row.error]);
  return [head, ...lines];
}

// The first columns are those of the film, the others come from the server by their keys.
function measurementRows(films) {
  const stated = (film) => ({ film: film.stem, verdict: film.row.verdict, reasons: film.row.reasons, remarks: remarksOf(film), ...film.row.measured });
  const lines = films.filter(({ row }) => row.measured).map((film) => { const cells = stated(film); return props.measured.map((column) => cells[column] ?? ''); });
  return [props.measured, ...lines];
}

// A correction that came after the film's files were made.
const remarksOf = ({ row, corrected, stale }) => [row.remarks, stale && corrected ? props.texts.en.correctedRemark : ''].filter(Boolean).join('; ');

// Text and title of a cell: as many digits as the error allows, and the error.
function figureOf(value, error) {
  if (!value || !error) return [value ?? ''];
  const digits = error < 0.2 ? 2 : error < 10 ? 1 : 0;
  const rounded = Number(Number(value).toFixed(digits)) || 0; // never -0
  return [rounded.toFixed(digits), { title: `± ${Number(error).toFixed(digits)}` }];
}

// The table for reading.
function fillTable(table, films, choose) {
  const cell = (tag, text, more = {}) => Object.assign(document.createElement(tag), { textContent: text, ...more });
  const lines = films.filter(({ row }) => row?.measured), heads = props.heads.filter(({ key }) => lines.some(({ row }) => row.measured[key]));
  const head = document.createElement('tr'), body = document.createElement('tbody');
  head.append(cell('th', say('film')), cell('th', say('verdict')), ...heads.map(({ names }) => cell('th', names[language()])));
  for (const film of lines) {
    const { row } = film, line = document.createElement('tr'), name = document.createElement('th');
    const button = cell('button', film.name, { type: 'button', title: say('open') });
    button.addEventListener('click', () => choose(film));
    name.scope = 'row';
    name.append(button);
    const figures = heads.map(({ key }) => cell('td', ...figureOf(row.measured[key], row.measured[`${key}_error`])));
    line.append(name, cell('td', verdictOf(film)), ...figures);
    body.append(line);
  }
  for (const each of head.children) each.scope = 'col';
  const top = document.createElement('thead');
  top.append(head);
  table.replaceChildren(top, body);
}
