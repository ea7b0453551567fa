// Shared by the upload fields, the batch and the viewer: a file's way to the server and onto the visitor's disk.
const megabytes = (bytes) => `${bytes / 2 ** 20} MB`;
const stemOf = (name) => name.replace(/([^/])\.(dcm|dicom|dic|dc3|dcm30|ima|img|png|jpe?g|tiff?|bmp|webp)$/i, '$1'); // io/discovery.py has the same list
const bytesOf = async (base64) => new Uint8Array(await (await fetch('data:application/octet-stream;base64,' + base64)).arrayBuffer());

// Sends a file under a random name: its own name stays in this tab. Returns Gradio's description of the stored file.
async function sendUnnamed(file) {
  const token = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const { path, url } = await upload(new File([file], token));
  return { path, url, orig_name: token, meta: { _type: 'gradio.FileData' } };
}

function save(parts, name, type) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  Object.assign(document.createElement('a'), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// Where the page is served without encryption, browsers offer no clipboard but that of the old command.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = Object.assign(document.createElement('textarea'), { value: text, readOnly: true });
    document.body.append(field);
    field.select();
    document.execCommand('copy');
    field.remove();
  }
}
