// An upload field. Several films at once, a folder or a ZIP archive go to the batch.
const TEXTS = {
  tooLarge: `That file is larger than ${megabytes(props.max_bytes)}; ${props.kind === 'film' ? 'choose a single film' : 'save the label as .npz, compressed .mat or PNG'}`,
  sending: (name) => `Sending ${name}`,
  sent: (name) => `${name} was sent`,
  shown: (name) => `Shown: ${name}`,
  refused: (name, why) => `${name} was refused: ${why}`,
  failed: 'The file could not be sent; try again',
  nothing: 'That folder is empty; choose one with films',
};
const field = element.querySelector('.drop'), input = field.querySelector('input'), status = field.querySelector('.status');
const hint = status.textContent;
let last = '', open = ''; // names of the file that was sent last, and of the film shown
input.multiple = props.several;
element.querySelector('.folder').hidden = !props.several;

function show(text, state) {
  status.textContent = text;
  field.classList.toggle('busy', state === 'busy');
  field.classList.toggle('wrong', state === 'wrong');
  element.querySelector('.shown').textContent = '';
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

watch('value', () => {
  if (!props.value?.refused) return;
  show(TEXTS.refused(last, props.value.refused), 'wrong');
  element.querySelector('.shown').textContent = open && TEXTS.shown(open);
});

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
const withFiles = (event) => element.isConnected && event.dataTransfer?.types.includes('Files');

// Files dropped on the target go into this field; `over` marks it meanwhile.
function takeDrops(target, over) {
  for (const kind of ['dragover', 'dragleave', 'drop'])
    target.addEventListener(kind, (event) => {
      if (!withFiles(event)) return;
      event.preventDefault();
      event.stopPropagation();
      const left = kind === 'drop' || (kind === 'dragleave' && !(event.relatedTarget && target.contains(event.relatedTarget)));
      over(!left);
      if (kind === 'drop') drop(event.dataTransfer);
    });
}

if (props.kind === 'film') {
  takeDrops(document, (over) => document.body.classList.toggle('dropping', over)); // anywhere on the page
  document.addEventListener('spineseg:choose-film', () => element.isConnected && input.click());
  document.addEventListener('spineseg:film-sent-again', (event) => send(event.detail));
  document.addEventListener('spineseg:film-changed', ({ detail: { name } }) => {
    open = name ?? '';
    show(name ? TEXTS.shown(name) : hint);
  });
} else {
  takeDrops(field, (over) => field.classList.toggle('over', over));
  document.addEventListener('spineseg:film-changed', () => show(hint));
}
