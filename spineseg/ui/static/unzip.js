// ZIP archives, opened in this browser: the server is sent one film at a time and never an archive. Source: APPNOTE.TXT 6.3.
const MOST_MEMBERS = 10000, MOST_LIST_BYTES = 8 * 2 ** 20;
const ZIP_FAULTS = new Set(['damaged', 'tooLong', 'nested', 'encrypted', 'link', 'outward', 'compression']); // keys of texts
const ZIP_LIMITS = { files: MOST_MEMBERS }; // what they name
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => { for (let bit = 0; bit < 8; bit++) n = (n >>> 1) ^ (0xedb88320 & -(n & 1)); return n; });

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255];
  return (crc ^ -1) >>> 0;
}

const viewOf = async (blob) => new DataView(await blob.arrayBuffer());
const isArchive = async (file) => file.size > 21 && [0x04034b50, 0x06054b50].includes((await viewOf(file.slice(0, 4))).getUint32(0, true));

// Its files: { name, read } or { name, error }; read(most) gives a File, or throws where it is damaged or longer than most.
async function membersOf(archive) {
  const { count, size, offset } = await endOf(archive);
  if (count > MOST_MEMBERS || size > MOST_LIST_BYTES) throw new Error('tooLong');
  const list = await viewOf(archive.slice(offset, offset + size));
  const found = [];
  for (let n = 0, at = 0; n < count; n++) {
    if (at + 46 > list.byteLength || list.getUint32(at, true) !== 0x02014b50) throw new Error('damaged');
    const [name, extra, comment] = [28, 30, 32].map((field) => list.getUint16(at + field, true));
    found.push(memberOf(archive, list, at, nameOf(new Uint8Array(list.buffer, at + 46, name))));
    at += 46 + name + extra + comment;
  }
  return byName(found.filter((member) => !member.name.endsWith('/')));
}

async function endOf(archive) {
  const start = Math.max(archive.size - 65557, 0), tail = await viewOf(archive.slice(start));
  for (let at = tail.byteLength - 22; at >= 0; at--) {
    if (tail.getUint32(at, true) !== 0x06054b50) continue;
    const [count, size, offset] = [tail.getUint16(at + 10, true), tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
    if (count === 0xffff || size === 0xffffffff || offset === 0xffffffff) throw new Error('tooLong');
    return { count, size, offset };
  }
  throw new Error('damaged');
}

// Without "//" and "/./", so that two names of one path are one.
function nameOf(bytes) {
  const parts = decoded(bytes).replaceAll('\\', '/').split('/');
  return parts.filter((part, n) => part !== '.' && (part || n === 0 || n === parts.length - 1)).join('/');
}

function decoded(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder('windows-1252').decode(bytes);
  }
}

function memberOf(archive, list, at, name) {
  const [flags, method] = [list.getUint16(at + 8, true), list.getUint16(at + 10, true)];
  const [crc, packed, size, attributes, offset] = [16, 20, 24, 38, 42].map((field) => list.getUint32(at + field, true));
  const type = (attributes >>> 16) & 0xf000;
  if (/^\/|^[a-z]:|(^|\/)\.\.(\/|$)/i.test(name)) return { name, error: 'outward' };
  if (![0, 0x4000, 0x8000].includes(type)) return { name, error: 'link' };
  if (flags & 1) return { name, error: 'encrypted' };
  if (method !== 0 && method !== 8) return { name, error: 'compression' };
  return { name, size, read: () => unpack(archive, { name, method, crc, packed, size, offset }) };
}

async function unpack(archive, { name, method, crc, packed, size, offset }) {
  const head = await viewOf(archive.slice(offset, offset + 30));
  if (head.byteLength < 30 || head.getUint32(0, true) !== 0x04034b50) throw new Error('damaged');
  const start = offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const stored = archive.slice(start, start + packed).stream();
  const bytes = await bytesUpTo(method ? stored.pipeThrough(new DecompressionStream('deflate-raw')) : stored, size);
  if (crc32(bytes) !== crc) throw new Error('damaged');
  return new File([bytes], name);
}

// Exactly so many bytes: an archive that states too few would otherwise fill the memory.
async function bytesUpTo(stream, size) {
  const bytes = new Uint8Array(size), reader = stream.getReader();
  let at = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (at + part.value.length > size) throw new Error('damaged');
      bytes.set(part.value, at);
      at += part.value.length;
    }
  } catch {
    throw new Error('damaged');
  } finally {
    await reader.cancel().catch(() => {});
  }
  if (at !== size) throw new Error('damaged');
  return bytes;
}
