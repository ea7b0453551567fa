// The viewer's downloads. The names of a visitor's files stay in this tab's memory.
const NAMED = new Map(); // token of an upload -> its file
const TYPES = { npz: 'application/zip', mat: 'application/octet-stream', png: 'image/png', json: 'application/json', csv: 'text/csv', dcm: 'application/dicom' };

document.addEventListener('spineseg:file-named', (event) => NAMED.set(event.detail.token, event.detail.file));
document.addEventListener('spineseg:film-refused', (event) => {
  NAMED.delete(event.detail.token);
  sync.reopening = false;
});

const nameOfFilm = () => shown.name || stemOf(NAMED.get(shown.film)?.name ?? 'film');

function download(kind) {
  if (kind === 'npy') save([npy()], `${nameOfFilm()}${shown.a.corrected ? '-corrected' : ''}.npy`, 'application/octet-stream');
  else if (kind === 'seg') triggerWithFilm('download', kind);
  else if (kind === 'collect') triggerWithFilm('collect', kind);
  else trigger('download', asked(kind));
}

const asked = (kind) => ({ kind, film: shown.film, ...(edits.steps.length ? sentMasks() : {}) });

// For what only the film's file holds; the server keeps no file, so it is sent once more.
async function triggerWithFilm(event, kind) {
  const file = NAMED.get(shown.film), request = asked(kind);
  if (shown.name) return trigger(event, request); // an example
  if (!file) return announce(say('sayNeedsFile'));
  try {
    trigger(event, { ...request, upload: await sendUnnamed(file) });
  } catch {
    announce(say('sayOffline'));
  }
}

// A file that the server made in memory; its name is made here.
async function saveFile({ film, file }) {
  if (film !== shown.film) return;
  save([await bytesOf(file.content)], nameOfFilm() + file.ending, TYPES[file.ending.split('.').pop()]);
}

find('[data-download="collect"]').hidden = !props.collects;
function collected({ film, collected: said }) {
  document.dispatchEvent(new CustomEvent('spineseg:collected', { detail: film }));
  if (film === shown.film) announce(said);
}

// The bytes of numpy.save of the uint8 array (rows, columns, channels): NumPy format 1.0, whose header leaves room for
// a first axis of 21 digits and ends at a multiple of 64 bytes.
function npy() {
  const { rows, columns, a: { bits } } = shown, channels = props.names.length;
  let header = `{'descr': '|u1', 'fortran_order': False, 'shape': (${rows}, ${columns}, ${channels}), }` + ' '.repeat(21 - String(rows).length);
  header += ' '.repeat(64 - ((10 + header.length + 1) % 64)) + '\n';
  const bytes = new Uint8Array(10 + header.length + bits.length * channels);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  for (let i = 0; i < header.length; i++) bytes[10 + i] = header.charCodeAt(i);
  for (let i = 0, at = 10 + header.length; i < bits.length; i++, at += channels) {
    const value = bits[i];
    if (value === 0) bytes[at + BACKGROUND] = 1;
    else for (let k = 0; k < BACKGROUND; k++) bytes[at + k] = (value >> k) & 1;
  }
  return bytes;
}

watch('value', enqueue);
new ResizeObserver(() => (view.fitted ? fit() : redraw())).observe(stage);
setStyle('fill');
refreshControls();
const kept = keptPicture();
enqueue();
sweepStored();
queue = queue.then(() => restoreTab(kept)).catch((error) => console.error('viewer:', error));
