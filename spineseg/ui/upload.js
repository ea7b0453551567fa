// The upload field. The file leaves under a random name: its own name stays in this browser's memory, where the
// viewer asks for it to name downloads, and two visitors with the same film never share a file on the server.
const field = element.querySelector('.drop');
const input = field.querySelector('input');
const status = field.querySelector('.status');
const idle = status.textContent;

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
    document.dispatchEvent(new CustomEvent('spineseg:named', { detail: { token, name: file.name } }));
    props.value = { path: sent.path, url: sent.url, orig_name: token, meta: { _type: 'gradio.FileData' } };
    trigger('upload');
    say(`${file.name}: choose or drop another`);
  } catch {
    say('The file could not be sent; try again', 'wrong');
  }
}

input.addEventListener('change', () => input.files.length && send(input.files[0]));
document.addEventListener('spineseg:dropped', (event) => send(event.detail));
document.addEventListener('spineseg:example', () => say(idle));
for (const kind of ['dragover', 'dragleave', 'drop'])
  field.addEventListener(kind, (event) => {
    event.preventDefault();
    field.classList.toggle('over', kind === 'dragover');
    if (kind === 'drop' && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
