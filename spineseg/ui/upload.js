// An upload field. The file leaves under a random name: its own name stays in this browser's memory, where the
// viewer asks for it to name downloads, and two visitors with the same film never share a file on the server.
const field = element.querySelector('.drop');
const input = field.querySelector('input');
const status = field.querySelector('.status');
const idle = status.textContent;
input.multiple = props.several;

function say(text, state) {
  status.textContent = text;
  field.classList.toggle('busy', state === 'busy');
  field.classList.toggle('wrong', state === 'wrong');
}

async function send(file) {
  input.value = '';
  if (file.size > props.max_bytes) return say('That file is larger than 64 MB; choose a single film', 'wrong');
  say(`Sending ${file.name}`, 'busy');
  const token = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  try {
    const sent = await upload(new File([file], token));
    if (props.kind === 'film') document.dispatchEvent(new CustomEvent('spineseg:named', { detail: { token: tokenOf(sent.path), name: file.name } }));
    props.value = { path: sent.path, url: sent.url, orig_name: token, meta: { _type: 'gradio.FileData' } };
    trigger('upload');
    say(`${file.name} was sent; choose or drop another`);
  } catch {
    say('The file could not be sent; try again', 'wrong');
  }
}

// The server gives every upload a name of its own, whatever it was sent under.
const tokenOf = (path) => path.split(/[\\/]/).pop();

function several(files) {
  if (files.length === 1 || !props.several) return send(files[0]);
  document.dispatchEvent(new CustomEvent('spineseg:several', { detail: [...files] }));
  input.value = '';
}

input.addEventListener('change', () => input.files.length && several(input.files));
if (props.kind === 'film') {
  document.addEventListener('spineseg:dropped', (event) => several(event.detail));
  document.addEventListener('spineseg:example', () => say(idle));
} else document.addEventListener('spineseg:fresh', () => say(idle));
for (const kind of ['dragover', 'dragleave', 'drop'])
  field.addEventListener(kind, (event) => {
    event.preventDefault();
    field.classList.toggle('over', kind === 'dragover');
    if (kind === 'drop' && event.dataTransfer.files.length) several(event.dataTransfer.files);
  });
