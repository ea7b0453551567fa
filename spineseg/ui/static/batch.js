// Several films: sent, segmented and fetched one after the other, put into one ZIP in this browser. The server holds
// one film at a time and never learns a name. After Cancel, the films that are ready can still be saved.
const MOST_ZIP_BYTES = 2 ** 31; // a ZIP without the 64-bit extension holds 4 GB
const MOST_ZIP_ENTRIES = 60000; // and 65,535 files
const box = element.querySelector('.batch');
const [lead, bar, list, cancelButton, saveButton, closeButton] = ['.lead', 'progress', '.films', '.cancel', '.save', '.close'].map((name) => box.querySelector(name));
let batch = null; // { films, entries, rows, stems, cancelled, over }
let request = null; // { token, resolve } of the film that is being segmented

document.addEventListener('spineseg:batch', (event) => { if (!batch || batch.over) start(event.detail); });
cancelButton.addEventListener('click', () => { if (batch) { batch.cancelled = true; request?.resolve(null); lead.textContent = say('stopping'); } });
closeButton.addEventListener('click', () => { box.hidden = true; batch = null; });
saveButton.addEventListener('click', () => saveZip(batch));

// found: see folders.js.
async function start(found) {
  const mine = (batch = { films: [], entries: [], rows: [], stems: new Set(), copies: new Map(), cancelled: false, over: false });
  box.hidden = false;
  cancelButton.hidden = false;
  saveButton.hidden = closeButton.hidden = true;
  bar.value = 0;
  list.replaceChildren();
  lead.textContent = say('looking');
  const films = (mine.films = await withMembers(found));
  bar.max = films.length || 1;
  list.replaceChildren(...films.map(({ name }) => listItem(name)));
  for (const [n, film] of films.entries()) {
    if (mine.cancelled) break;
    lead.textContent = say('progress', { n: n + 1, count: films.length });
    await segment(mine, film, list.children[n]);
    bar.value = n + 1;
  }
  finish(mine);
}

// Each file and each file of an archive: { name, size, read } or { name, error }.
async function withMembers(found) {
  const films = [];
  for (const { name, file } of found) {
    if (!file) films.push({ name, error: say('unreadable') });
    else if (!(await isArchive(file).catch(() => false))) films.push({ name, size: file.size, read: async () => file });
    else
      try {
        const prefix = found.length > 1 ? `${name}/` : '';
        for (const member of withoutQuiet(await membersOf(file))) films.push({ ...member, name: prefix + member.name });
      } catch (error) {
        films.push({ name, error: say(ZIP_FAULTS.includes(error.message) ? error.message : 'unreadable', ZIP_LIMITS) });
      }
  }
  return films;
}

function listItem(name) {
  const item = document.createElement('li');
  item.append(Object.assign(document.createElement('span'), { textContent: name, title: name }), Object.assign(document.createElement('span'), { textContent: say('waiting') }));
  return item;
}

async function segment(mine, film, item) {
  const report = (text, failed = false) => { item.lastChild.textContent = text; item.classList.add('begun'); item.classList.toggle('failed', failed); item.scrollIntoView({ block: 'nearest' }); };
  report(say('segmenting'));
  const answer = await answerTo(film).catch((error) => ({ error: say(error.message === 'damaged' ? 'damaged' : 'failed') }));
  if (answer === null) return report(say('cancelled'));
  mine.rows.push({ file: film.name, ...answer, entries: undefined, token: undefined });
  if (answer.error) return report(answer.error, true);
  const stem = uniqueStem(mine, film.name);
  for (const { ending, crc, size, content } of answer.entries) {
    const deflated = new Blob([await bytesOf(content)]); // a Blob: the browser may keep it on the disk
    mine.entries.push({ name: stem + ending, crc, size, method: DEFLATED, content: deflated });
  }
  report(answer.verdict + (stem === stemOf(film.name) ? '' : say('renamed', { stem })));
}

async function answerTo(film) {
  if (film.error) return { error: film.error };
  if (film.size > props.max_bytes) return { error: say('tooLarge', { size: megabytes(props.max_bytes) }) };
  const file = await film.read();
  if (await isArchive(file)) return { error: say('nested') };
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

// As the command line does: without its ending, with it, or with a number.
function uniqueStem(mine, name) {
  let stem = stemOf(name);
  const copies = mine.copies.get(name) ?? 1;
  mine.copies.set(name, copies + 1);
  for (let n = copies; mine.stems.has(stem.toLowerCase()); n++) stem = n === 1 ? name : `${name}-${n}`;
  mine.stems.add(stem.toLowerCase());
  return stem;
}

function finish(mine) {
  mine.over = true;
  request = null;
  const good = mine.rows.filter((row) => !row.error).length;
  lead.textContent = say(mine.cancelled ? 'stopped' : 'ready', { good, count: mine.films.length });
  cancelButton.hidden = true;
  closeButton.hidden = false;
  saveButton.hidden = !good;
  for (const item of list.children) if (!item.classList.contains('begun')) item.lastChild.textContent = say('skipped');
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

// Several archives where one would be too large; the table is in the last.
function saveZip({ entries, rows }) {
  const table = new TextEncoder().encode(csv(rows));
  const parts = inParts([...entries, { name: 'films.csv', crc: crc32(table), size: table.length, method: STORED, content: new Blob([table]) }]);
  for (const [n, part] of parts.entries()) save(zip(part), parts.length === 1 ? 'spineseg.zip' : `spineseg-${n + 1}.zip`, 'application/zip');
}

function inParts(entries) {
  const parts = [[]];
  let bytes = 0;
  for (const entry of entries) {
    bytes += entry.content.size;
    if (bytes > MOST_ZIP_BYTES || parts.at(-1).length === MOST_ZIP_ENTRIES) { parts.push([]); bytes = entry.content.size; }
    parts.at(-1).push(entry);
  }
  return parts;
}

function zip(entries) {
  const files = [], directory = [];
  let offset = 0;
  for (const { name, crc, size, method, content } of entries) {
    const encoded = new TextEncoder().encode(name);
    const fields = [20, UTF8_NAME, method, 0, FIRST_OF_JANUARY_1980, crc, content.size, size, encoded.length, 0];
    const header = littleEndian([0x04034b50, ...fields], [4, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2]);
    directory.push(littleEndian([0x02014b50, 20, ...fields, 0, 0, 0, 0, offset], [4, 2, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2, 2, 2, 2, 4, 4]), encoded);
    files.push(header, encoded, content);
    offset += header.length + encoded.length + content.size;
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
