// Several films: sent, segmented and fetched one after the other, put into one ZIP in this browser. The server holds
// one film at a time and never learns a name. After Cancel, the films that are ready can still be saved.
const TEXTS = {
  waiting: 'waiting',
  segmenting: 'segmenting',
  cancelled: 'cancelled',
  skipped: 'left out',
  tooLarge: `larger than ${megabytes(props.max_bytes)}`,
  failed: 'could not be sent',
  progress: (n, count) => `Film ${n} of ${count}`,
  stopping: 'Stopping',
  ready: (good, count) => `${good} of ${count} films are ready`,
  stopped: (good, count) => `Stopped: ${good} of ${count} films are ready`,
};
const MOST_FILMS = 200;
const box = element.querySelector('.batch');
const [lead, bar, list, cancelButton, saveButton, closeButton] = ['.lead', 'progress', '.films', '.cancel', '.save', '.close'].map((name) => box.querySelector(name));
let batch = null; // { files, entries, rows, stems, cancelled, over }
let request = null; // { token, resolve } of the film that is being segmented

document.addEventListener('spineseg:batch', (event) => { if (!batch || batch.over) start([...event.detail].slice(0, MOST_FILMS)); });
cancelButton.addEventListener('click', () => { if (batch) { batch.cancelled = true; request?.resolve(null); lead.textContent = TEXTS.stopping; } });
closeButton.addEventListener('click', () => { box.hidden = true; batch = null; });
saveButton.addEventListener('click', () => saveZip(batch));

async function start(files) {
  const mine = (batch = { files, entries: [], rows: [], stems: new Map(), cancelled: false, over: false });
  box.hidden = false;
  cancelButton.hidden = false;
  saveButton.hidden = closeButton.hidden = true;
  bar.max = files.length;
  bar.value = 0;
  list.replaceChildren(...files.map((file) => listItem(file.name)));
  for (const [n, file] of files.entries()) {
    if (mine.cancelled) break;
    lead.textContent = TEXTS.progress(n + 1, files.length);
    await segment(mine, file, list.children[n]);
    bar.value = n + 1;
  }
  finish(mine);
}

function listItem(name) {
  const item = document.createElement('li');
  item.append(Object.assign(document.createElement('span'), { textContent: name, title: name }), Object.assign(document.createElement('span'), { textContent: TEXTS.waiting }));
  return item;
}

async function segment(mine, file, item) {
  const report = (text, failed = false) => { item.lastChild.textContent = text; item.classList.toggle('failed', failed); item.scrollIntoView({ block: 'nearest' }); };
  report(TEXTS.segmenting);
  const answer = await answerTo(file).catch(() => ({ error: TEXTS.failed }));
  if (answer === null) return report(TEXTS.cancelled);
  const stem = uniqueStem(mine, stemOf(file.name));
  mine.rows.push({ file: file.name, ...answer, entries: undefined, token: undefined });
  if (answer.error) return report(answer.error, true);
  for (const { ending, crc, size, content } of answer.entries) mine.entries.push({ name: stem + ending, crc, size, method: DEFLATED, content: await bytesOf(content) });
  report(answer.verdict);
}

async function answerTo(file) {
  if (file.size > props.max_bytes) return { error: TEXTS.tooLarge };
  const sent = await sendUnnamed(file);
  return new Promise((resolve) => {
    request = { token: sent.orig_name, resolve };
    props.value = sent;
    trigger('film');
  });
}

watch('value', () => {
  const value = props.value;
  if (!request || !value || (!value.entries && !value.error) || (value.token && value.token !== request.token)) return;
  const { resolve } = request;
  request = null;
  resolve(value);
  props.value = null; // nothing of a film stays in Gradio's record of the page
});

function uniqueStem(mine, stem) {
  const count = (mine.stems.get(stem) || 0) + 1;
  mine.stems.set(stem, count);
  return count === 1 ? stem : `${stem}-${count}`;
}

function finish(mine) {
  mine.over = true;
  request = null;
  const good = mine.rows.filter((row) => !row.error).length;
  lead.textContent = (mine.cancelled ? TEXTS.stopped : TEXTS.ready)(good, mine.files.length);
  cancelButton.hidden = true;
  closeButton.hidden = false;
  saveButton.hidden = !good;
  for (const item of list.children) if (item.lastChild.textContent === TEXTS.waiting) item.lastChild.textContent = TEXTS.skipped;
  if (good && !mine.cancelled) saveZip(mine);
}

function csv(rows) {
  const quoted = (value) => `"${String(value ?? '').replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`; // a name must not become a formula
  const head = ['file', 'rows', 'columns', 'verdict', 'reasons', ...props.names, 'seconds', 'error'];
  const lines = rows.map((row) => [row.file, row.rows, row.columns, row.verdict, row.reasons, ...props.names.map((_, k) => (row.present ? Number(row.present[k]) : '')), row.seconds, row.error]);
  return [head, ...lines].map((line) => line.map(quoted).join(',')).join('\r\n') + '\r\n';
}

// ---- ZIP: the server has deflated the entries; names, headers and directory are added here. Source: APPNOTE.TXT 6.3 ----

const STORED = 0, DEFLATED = 8, UTF8_NAME = 0x0800, FIRST_OF_JANUARY_1980 = 0x21;

function saveZip({ entries, rows }) {
  const table = new TextEncoder().encode(csv(rows));
  save(zip([...entries, { name: 'films.csv', crc: crc32(table), size: table.length, method: STORED, content: table }]), 'spineseg.zip', 'application/zip');
}

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return (crc ^ -1) >>> 0;
}

function zip(entries) {
  const files = [], directory = [];
  let offset = 0;
  for (const { name, crc, size, method, content } of entries) {
    const encoded = new TextEncoder().encode(name);
    const fields = [20, UTF8_NAME, method, 0, FIRST_OF_JANUARY_1980, crc, content.length, size, encoded.length, 0];
    const header = littleEndian([0x04034b50, ...fields], [4, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2]);
    directory.push(littleEndian([0x02014b50, 20, ...fields, 0, 0, 0, 0, offset], [4, 2, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2, 2, 2, 2, 4, 4]), encoded);
    files.push(header, encoded, content);
    offset += header.length + encoded.length + content.length;
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  return [...files, ...directory, littleEndian([0x06054b50, 0, 0, entries.length, entries.length, length, offset, 0], [4, 2, 2, 2, 2, 4, 4, 2])];
}

function littleEndian(values, widths) {
  const view = new DataView(new ArrayBuffer(widths.reduce((sum, width) => sum + width, 0)));
  let at = 0;
  values.forEach((value, n) => { if (widths[n] === 4) view.setUint32(at, value, true); else view.setUint16(at, value, true); at += widths[n]; });
  return new Uint8Array(view.buffer);
}
