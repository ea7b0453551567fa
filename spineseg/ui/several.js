// Several films: sent, segmented and fetched one after the other, put into one ZIP in this browser. The server holds
// one film at a time and never learns a name; cancel keeps what is already there.
const box = element.querySelector('.several');
const [lead, bar, list, cancelButton, saveButton, closeButton] = ['.lead', 'progress', '.films', '.cancel', '.save', '.close'].map((name) => box.querySelector(name));
const MOST = 200;
let run = null; // { files, done, cancelled, entries, rows }
let waiting = null; // { token, resolve } of the film that is being segmented

const stemOf = (name) => name.replace(/\.(dcm|dicom|ima)$/i, '');
const randomName = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');

document.addEventListener('spineseg:several', (event) => { if (!run || run.over) start([...event.detail].slice(0, MOST)); });
cancelButton.addEventListener('click', () => { if (run) { run.cancelled = true; waiting?.resolve(null); lead.textContent = 'Stopping'; } });
closeButton.addEventListener('click', () => { box.hidden = true; run = null; });
saveButton.addEventListener('click', () => saveZip(run));

async function start(files) {
  const mine = (run = { files, entries: [], rows: [], stems: new Map(), cancelled: false, over: false });
  box.hidden = false;
  cancelButton.hidden = false;
  saveButton.hidden = closeButton.hidden = true;
  bar.max = files.length;
  bar.value = 0;
  list.replaceChildren(...files.map((file) => line(file.name)));
  for (const [n, file] of files.entries()) {
    if (mine.cancelled) break;
    lead.textContent = `Film ${n + 1} of ${files.length}`;
    await one(mine, file, list.children[n]);
    bar.value = n + 1;
  }
  finish(mine);
}

function line(name) {
  const item = document.createElement('li');
  item.append(Object.assign(document.createElement('span'), { textContent: name, title: name }), Object.assign(document.createElement('span'), { textContent: 'waiting' }));
  return item;
}

async function one(mine, file, item) {
  const say = (text, failed = false) => { item.lastChild.textContent = text; item.classList.toggle('failed', failed); item.scrollIntoView({ block: 'nearest' }); };
  say('segmenting');
  const answer = await answerTo(file).catch(() => ({ error: 'could not be sent' }));
  if (answer === null) return say('cancelled');
  const stem = unused(mine, stemOf(file.name));
  mine.rows.push({ file: file.name, ...answer, entries: undefined, token: undefined });
  if (answer.error) return say(answer.error, true);
  for (const entry of answer.entries) mine.entries.push({ name: stem + entry.ending, crc: entry.crc, size: entry.size, packed: await bytesOf(entry.content) });
  say(answer.verdict === 'sure' ? 'levels sure' : 'levels unsure');
}

async function answerTo(file) {
  if (file.size > props.max_bytes) return { error: 'larger than 64 MB' };
  const token = randomName(), sent = await upload(new File([file], token));
  return new Promise((resolve) => {
    waiting = { token, resolve };
    props.value = { path: sent.path, url: sent.url, orig_name: token, meta: { _type: 'gradio.FileData' } };
    trigger('film');
  });
}

watch('value', () => {
  const value = props.value;
  if (!waiting || !value || (!value.entries && !value.error) || (value.token && value.token !== waiting.token)) return;
  const { resolve } = waiting;
  waiting = null;
  resolve(value);
  props.value = null; // nothing of a film stays in the page's own record
});

function unused(mine, stem) {
  const count = (mine.stems.get(stem) || 0) + 1;
  mine.stems.set(stem, count);
  return count === 1 ? stem : `${stem}-${count}`;
}

function finish(mine) {
  mine.over = true;
  waiting = null;
  const good = mine.rows.filter((row) => !row.error).length;
  lead.textContent = mine.cancelled ? `Stopped: ${good} of ${mine.files.length} films are ready` : `${good} of ${mine.files.length} films are ready`;
  cancelButton.hidden = true;
  closeButton.hidden = false;
  saveButton.hidden = !good;
  for (const item of list.children) if (item.lastChild.textContent === 'waiting') item.lastChild.textContent = 'left out';
  if (good && !mine.cancelled) saveZip(mine);
}

// ---- the ZIP: entries are deflated already; here they get names, heads and a directory. Source: APPNOTE.TXT 6.3 ----

const bytesOf = async (base64) => new Uint8Array(await (await fetch('data:application/octet-stream;base64,' + base64)).arrayBuffer());

function saveZip({ entries, rows }) {
  const url = URL.createObjectURL(new Blob(zip([...entries, plain('films.csv', csv(rows))]), { type: 'application/zip' }));
  const link = Object.assign(document.createElement('a'), { href: url, download: 'spineseg.zip' });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

function csv(rows) {
  const quoted = (value) => `"${String(value ?? '').replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`; // a name must not become a formula
  const head = ['file', 'rows', 'columns', 'verdict', 'reasons', ...props.names, 'seconds', 'error'];
  const lines = rows.map((row) => [row.file, row.rows, row.columns, row.verdict, row.reasons, ...props.names.map((_, k) => (row.present ? Number(row.present[k]) : '')), row.seconds, row.error]);
  return [head, ...lines].map((line) => line.map(quoted).join(',')).join('\r\n') + '\r\n';
}

function plain(name, text) {
  const bytes = new TextEncoder().encode(text);
  return { name, crc: crc32(bytes), size: bytes.length, packed: bytes, stored: true };
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
  const parts = [], directory = [];
  let offset = 0;
  for (const entry of entries) {
    const name = new TextEncoder().encode(entry.name);
    const fields = [20, 0x0800, entry.stored ? 0 : 8, 0, 0x21, entry.crc, entry.packed.length, entry.size, name.length, 0]; // 0x0800: the name is UTF-8; 0x21: 1 January 1980
    const local = numbers([0x04034b50, ...fields], [4, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2]);
    directory.push(numbers([0x02014b50, 20, ...fields, 0, 0, 0, 0, offset], [4, 2, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2, 2, 2, 2, 4, 4]), name);
    parts.push(local, name, entry.packed);
    offset += local.length + name.length + entry.packed.length;
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  return [...parts, ...directory, numbers([0x06054b50, 0, 0, entries.length, entries.length, length, offset, 0], [4, 2, 2, 2, 2, 4, 4, 2])];
}

function numbers(values, widths) {
  const bytes = new Uint8Array(widths.reduce((sum, width) => sum + width, 0)), view = new DataView(bytes.buffer);
  let at = 0;
  values.forEach((value, n) => { widths[n] === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true); at += widths[n]; });
  return bytes;
}
