// An upload field. Several films at once, a folder or a ZIP archive go to the batch.
const TEXTS = {
  tooLarge: `That file is larger than ${megabytes(props.max_bytes)}; ${props.kind === 'film' ? 'choose a single film' : 'save the label as .npz, compressed .mat or PNG'}`,
  sending: (name) => `Sending ${name}`,
  sent: (name) => `${name} was sent; choose or drop another`,
  refused: (name) => (props.kind === 'film' ? `${name} was refused; what was open before is still shown` : `${name} was refused; nothing is in its place`),
  failed: 'The file could not be sent; try again',
  nothing: 'That folder is empty; choose one with films',
};
const field = element.querySelector('.drop'), input = field.querySelector('input'), status = field.querySelector('.status');
const hint = status.textContent;
let last = ''; // name of the file that was sent last
input.multiple = props.several;
element.querySelector('.folder').hidden = !props.several;

function show(text, state) {
  status.textContent = text;
  field.classList.toggle('busy', state === 'busy');
  field.classList.toggle('wrong', state === 'wrong');
}

async function send(file) {
  if (file.size > props.max_bytes) return show(TEXTS.tooLarge, 'wrong');
  show(TEXTS.sending(file.name), 'busy');
  try {
    const sent = await sendUnnamed(file);
    // The server stores every upload under a name of its own, by which the viewer finds the file's name again.
    const token = sent.path.split(/[\\/]/).pop();
    if (props.kind === 'film') document.dispatchEvent(new CustomEvent('spineseg:file-named', { detail: { token, file } }));
    props.value = sent;
    trigger('upload');
    last = file.name;
    show(TEXTS.sent(last));
  } catch {
    show(TEXTS.failed, 'wrong');
  }
}

watch('value', () => { if (props.value?.refused) show(TEXTS.refused(last), 'wrong'); });

// found: see folders.js.
async function accept(found) {
  const alone = found.length === 1 && found[0].file;
  if (!found.length) show(TEXTS.nothing, 'wrong');
  else if (alone && (!props.several || !(await isArchive(alone)))) send(alone);
  else if (!props.several) send(found[0].file);
  else document.dispatchEvent(new CustomEvent('spineseg:batch', { detail: found }));
}

for (const chooser of element.querySelectorAll('input'))
  chooser.addEventListener('change', () => {
    const found = chosenFiles(chooser.files);
    chooser.value = '';
    accept(found);
  });
const drop = (transfer) => droppedFiles(transfer).then(accept);
if (props.kind === 'film') {
  document.addEventListener('spineseg:files-dropped', (event) => drop(event.detail));
  document.addEventListener('spineseg:film-sent-again', (event) => send(event.detail));
  document.addEventListener('spineseg:example-opened', () => show(hint));
} else document.addEventListener('spineseg:film-changed', () => show(hint));
for (const kind of ['dragover', 'dragleave', 'drop'])
  field.addEventListener(kind, (event) => {
    event.preventDefault();
    field.classList.toggle('over', kind === 'dragover');
    if (kind === 'drop' && event.dataTransfer.files.length) drop(event.dataTransfer);
  });
