// An upload field. Several films at once, a folder or a ZIP archive go to the batch.
const field = element.querySelector('.drop'), input = field.querySelector('input'), status = field.querySelector('.status');
let said = []; // key and values of the text shown
let last = '', lastToken = '', open = ''; // name and token of the file that was sent last, name of the film shown
input.multiple = props.several;
element.querySelector('.folder').hidden = !props.several;

// said: a key of a text and its values.
function show(state, ...text) {
  said = text;
  status.textContent = say(...said);
  field.classList.toggle('busy', state === 'busy');
  field.classList.toggle('wrong', state === 'wrong');
  element.querySelector('.shown').textContent = '';
}

const showHint = () => show('', 'hint', { size: megabytes(props.max_bytes) });

async function send(file) {
  if (file.size > props.max_bytes) return show('wrong', 'tooLarge', { size: megabytes(props.max_bytes) });
  show('busy', 'sending', { name: file.name });
  try {
    const sent = await sendUnnamed(file);
    // The server stores every upload under a name of its own, by which the viewer finds the file's name again.
    const token = sent.path.split(/[\\/]/).pop();
    if (props.kind === 'film') document.dispatchEvent(new CustomEvent('spineseg:file-named', { detail: { token, file } }));
    [last, lastToken] = [file.name, token];
    props.value = sent;
    trigger('upload');
    show('', 'sent', { name: last });
  } catch {
    notOpened('');
    show('wrong', 'failed');
  }
}

function notOpened(token) {
  if (props.kind === 'film') document.dispatchEvent(new CustomEvent('spineseg:film-refused', { detail: { token } }));
}

watch('value', () => {
  const { refused, token = lastToken } = props.value ?? {};
  if (refused) notOpened(token);
  if (!refused || token !== lastToken) return; // of a file before
  show('wrong', 'refused', { name: last, why: refused });
  element.querySelector('.shown').textContent = open && say('shown', { name: open });
});

// found: see folders.js.
async function accept(found) {
  const alone = found.length === 1 && found[0].file;
  if (!found.length) show('wrong', 'nothing');
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
    if (name) show('', 'shown', { name });
    else showHint();
  });
} else {
  takeDrops(field, (over) => field.classList.toggle('over', over));
  document.addEventListener('spineseg:film-changed', showHint);
}
document.addEventListener('spineseg:language', () => {
  status.textContent = say(...said);
  element.querySelector('.shown').textContent &&= say('shown', { name: open });
});
showHint();
