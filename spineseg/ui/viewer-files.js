// The viewer, part 5 of 5: files in and out. Names of a visitor's files live in this tab's memory and nowhere else.
const NAMED = new Map(); // token of an upload -> the file's own name
const TYPES = { npz: 'application/zip', mat: 'application/octet-stream', png: 'image/png', json: 'application/json' };

document.addEventListener('spineseg:named', (event) => NAMED.set(event.detail.token, event.detail.name));
for (const kind of ['dragover', 'dragleave', 'drop'])
  stage.addEventListener(kind, (event) => {
    event.preventDefault();
    stage.classList.toggle('over', kind === 'dragover');
    if (kind === 'drop' && event.dataTransfer.files.length)
      document.dispatchEvent(new CustomEvent('spineseg:dropped', { detail: event.dataTransfer.files }));
  });

const stem = (name) => name && name.replace(/\.(dcm|dicom|ima)$/i, '');
const nameOfFilm = () => shown.name || stem(NAMED.get(shown.film)) || 'film';

function takeAway(kind) {
  if (kind === 'npy') save(npy(), `${nameOfFilm()}${shown.a.corrected ? '-corrected' : ''}.npy`, 'application/octet-stream');
  else trigger('take', { kind, film: shown.film });
}

// A file that the server made: it never lay on a disk there, and gets its name here.
async function saveFile({ film, file }) {
  if (film !== shown.film) return;
  const bytes = new Uint8Array(await (await fetch('data:application/octet-stream;base64,' + file.content)).arrayBuffer());
  save(bytes, nameOfFilm() + file.ending, TYPES[file.ending.split('.').pop()]);
}

function save(bytes, name, type) {
  const url = URL.createObjectURL(new Blob([bytes], { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// The same bytes as numpy.save of the uint8 array (rows, columns, 7): NumPy format 1.0, whose header leaves room for a
// first axis of 21 digits and ends at a multiple of 64 bytes.
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

watch('value', load);
new ResizeObserver(() => (view.fitted ? fit() : redraw())).observe(stage);
drawnAs('fill');
settle();
load();
