// Several films: sent, segmented and fetched one after the other. They end in a list whose rows open a film on the stage, one
// table of measurements and one ZIP, all made in this browser. The server holds one film at a time and never learns a name.
const box = element.querySelector('.batch');
const part = (selector) => box.querySelector(selector);
const [lead, bar, list, table] = ['.lead', 'progress', '.films', '.measured table'].map(part);
const NOTHING_SHOWN = Symbol('nothing shown');
let saying = () => ''; // the line above the list
let batch = null; // { films, stems, copies, cancelled, over }; a film: { name, size, read or error, item, stem, row, entries, token, masks, corrected, stale, collected }
let request = null; // { token, resolve } of the film that is being segmented
let opening = null; // { film, file } that is on its way to the stage
let shownToken = NOTHING_SHOWN;

document.addEventListener('spineseg:batch', (event) => { if (!batch || batch.over) start(event.detail); });
part('.cancel').addEventListener('click', () => { if (batch) { batch.cancelled = true; request?.resolve(null); tell('stopping'); } });
part('.close').addEventListener('click', () => { box.hidden = true; batch = null; });
part('.save').addEventListener('click', () => saveAll(batch));
part('.show').addEventListener('click', () => { fillTable(table, batch.films, (film) => { part('.measured').close(); openFilm(film); }); part('.measured').showModal(); });
for (const button of box.querySelectorAll('.copy')) button.addEventListener('click', async () => { await copyText(tabbed(measurementRows(batch.films))); part('.copied').textContent = say('copied'); });
for (const button of box.querySelectorAll('.csv')) button.addEventListener('click', () => save([csvText(measurementRows(batch.films))], TABLES.measurements, 'text/csv'));

// found: see folders.js.
async function start(found) {
  const mine = (batch = { films: [], stems: new Set(), copies: new Map(), cancelled: false, over: false });
  box.hidden = false;
  showButtons({ cancel: true });
  bar.value = 0;
  bar.hidden = false;
  list.replaceChildren();
  part('.copied').textContent = '';
  tell('looking');
  mine.films = await withMembers(found);
  bar.max = mine.films.length || 1;
  for (const film of mine.films) film.item = listItem(film);
  list.replaceChildren(...mine.films.map(({ item }) => item));
  for (const [n, film] of mine.films.entries()) {
    if (mine.cancelled) break;
    tell('progress', { n: n + 1, count: mine.films.length });
    await segment(mine, film);
    bar.value = n + 1;
  }
  finish(mine);
}

function tell(key, values) {
  saying = () => say(key, values);
  lead.textContent = saying();
}
document.addEventListener('spineseg:language', () => {
  lead.textContent = saying();
  for (const { item, text } of batch?.films ?? []) if (item) item.firstChild.lastChild.textContent = text?.() ?? say('waiting');
  part('.copied').textContent = '';
});

const showButtons = ({ cancel = false, close = false, save: good = false }) => {
  part('.cancel').hidden = !cancel;
  part('.close').hidden = !close;
  part('.save').hidden = part('.tables').hidden = part('.order').hidden = !good;
};

// Each file and each file of an archive: { name, size, read } or { name, error }.
async function withMembers(found) {
  const films = [];
  for (const { name, file } of found) {
    if (!file) films.push({ name, error: say('unreadable') });
    else if (!(await isArchive(file).catch(() => false))) films.push({ name, size: file.size, read: async () => file });
    else
      try {
        const prefix = found.length > 1 ? `${name}/` : '';
        for (const member of withoutQuiet(await membersOf(file))) films.push({ ...member, error: member.error && say(member.error), name: prefix + member.name });
      } catch (error) {
        films.push({ name, error: say(ZIP_FAULTS.has(error.message) ? error.message : 'unreadable', ZIP_LIMITS) });
      }
  }
  return films;
}

// ---- the list ----

function listItem(film) {
  const item = document.createElement('li'), button = document.createElement('button');
  const [name, state] = [film.name, say('waiting')].map((textContent) => Object.assign(document.createElement('span'), { textContent }));
  Object.assign(button, { type: 'button', title: say('open'), tabIndex: -1 });
  button.append(name, state);
  button.addEventListener('click', () => openFilm(film));
  item.append(button);
  return item;
}

// text: what makes it, for it is said again in another language; what the server said stays as it is.
function report(film, text, failed = false) {
  const button = film.item.firstChild;
  film.text = text;
  button.lastChild.textContent = text();
  film.item.classList.add('begun');
  film.item.classList.toggle('failed', failed);
  button.setAttribute('aria-disabled', failed);
  film.item.scrollIntoView({ block: 'nearest' });
}

// The server says a verdict in English, as it stands in the tables; it is none on names that a person moved.
const verdictOf = ({ corrected, renumbered, row }) => (renumbered ? say('correctedRemark') : corrected ? say('corrected', { verdict: say(row.verdict) }) : say(row.verdict));
const stateOf = (film) => {
  const state = film.collected ? say('collected', { state: verdictOf(film) }) : verdictOf(film);
  return film.stem === stemOf(film.name) ? state : say('renamed', { state, stem: film.stem });
};

// As they came, or first those that a person should look at; what could not be used comes last.
function orderList() {
  const films = [...batch.films];
  if (part('.review').checked) films.sort((a, b) => (a.row?.review ?? 9) - (b.row?.review ?? 9));
  list.replaceChildren(...films.map(({ item }) => item));
  focusRow(0);
}
part('.review').checked = props.collects;
part('.review').addEventListener('change', orderList);

// One stop of the Tab key; arrows go from film to film.
function focusRow(n) {
  const buttons = [...list.querySelectorAll('button')], button = buttons[Math.min(Math.max(n, 0), buttons.length - 1)];
  for (const each of buttons) each.tabIndex = each === button ? 0 : -1;
  return button;
}
list.addEventListener('focusin', (event) => focusRow([...list.children].indexOf(event.target.closest('li'))));
list.addEventListener('keydown', (event) => {
  const n = [...list.children].indexOf(event.target.closest('li'));
  const to = { ArrowDown: n + 1, ArrowUp: n - 1, Home: 0, End: list.children.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  focusRow(to).focus();
});

// Sends the film's file once more: the batch keeps files, the server keeps none of its films.
async function openFilm(film) {
  if (film.error || film.row?.error) return;
  const file = await film.read().catch(() => null);
  if (!file) return report(film, () => say('unreadable'), true);
  opening = { film, file: new File([file], film.name.split('/').pop()) };
  document.dispatchEvent(new CustomEvent('spineseg:film-sent-again', { detail: opening.file }));
}
document.addEventListener('spineseg:file-named', ({ detail: { token, file } }) => { if (file === opening?.file) opening.film.token = token; });
document.addEventListener('spineseg:film-changed', ({ detail }) => {
  shownToken = detail.film;
  markShown();
});
function markShown() {
  for (const { token, item } of batch?.films ?? []) item?.firstChild.setAttribute('aria-current', token === shownToken);
}

// What a person corrects on the stage goes into the table at once, and into the files when they are saved.
document.addEventListener('spineseg:measured', ({ detail: { film: token, cells, corrected, renumbered, masks } }) => {
  const film = batch?.films.find((each) => each.token === token);
  if (!film?.row || film.row.error) return;
  film.row.measured = cells;
  Object.assign(film, { corrected, renumbered, masks: corrected ? masks : null, stale: true, collected: false });
  report(film, () => stateOf(film));
});

document.addEventListener('spineseg:collected', ({ detail: token }) => {
  const film = batch?.films.find((each) => each.token === token);
  if (!film) return;
  film.collected = true;
  report(film, () => stateOf(film));
});

// ---- segmenting ----

async function segment(mine, film) {
  report(film, () => say('segmenting'));
  const answer = await answerTo(film).catch((error) => ({ error: say(error.message === 'damaged' ? 'damaged' : 'failed') }));
  if (answer === null) return report(film, () => say('cancelled'));
  const { entries, token: _, ...row } = answer;
  film.row = row;
  film.stale = false;
  if (row.error) return report(film, () => row.error, true);
  film.stem ??= uniqueStem(mine, film.name);
  film.entries = [];
  for (const { ending, crc, size, content } of entries) {
    const deflated = new Blob([await bytesOf(content)]); // a Blob: the browser may keep it on the disk
    film.entries.push({ name: film.stem + ending, crc, size, method: DEFLATED, content: deflated });
  }
  report(film, () => stateOf(film));
}

async function answerTo(film) {
  if (film.error) return { error: film.error };
  if (film.size > props.max_bytes) return { error: say('tooLarge', { limit: megabytes(props.max_bytes) }) };
  const file = await film.read();
  if (await isArchive(file)) return { error: say('nested') };
  const sent = await sendUnnamed(file);
  return new Promise((resolve) => {
    request = { token: sent.orig_name, resolve };
    props.value = { file: sent, masks: film.masks };
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

const done = (mine) => mine.films.filter(({ row }) => row);
const good = (mine) => done(mine).filter(({ row }) => !row.error);

function finish(mine) {
  mine.over = true;
  request = null;
  const ready = good(mine).length;
  tell(mine.cancelled ? 'stopped' : 'ready', { good: ready, count: mine.films.length });
  bar.hidden = true;
  showButtons({ close: true, save: ready > 0 });
  for (const film of mine.films) if (!film.row && !film.item.classList.contains('begun')) report(film, () => say('skipped'));
  if (mine.films.length) orderList();
  if (ready && !mine.cancelled) saveAll(mine);
}

// Films that were corrected since are segmented once more, with the person's masks for the model's.
async function saveAll(mine) {
  const stale = good(mine).filter((film) => film.stale), before = saying;
  for (const [n, film] of stale.entries()) {
    tell('saving', { n: n + 1, count: stale.length });
    await segment(mine, film);
  }
  saying = before;
  lead.textContent = saying();
  const tables = [{ name: TABLES.films, text: csvText(filmRows(done(mine))) }, { name: TABLES.measurements, text: csvText(measurementRows(good(mine))) }];
  saveZip(good(mine).flatMap(({ entries }) => entries), tables);
}
