// Writing a ZIP: the server has deflated the entries; names, headers and directory are added here. Source: APPNOTE.TXT 6.3.
const MOST_ZIP_BYTES = 2 ** 31; // a ZIP without the 64-bit extension holds 4 GB
const MOST_ZIP_ENTRIES = 60000; // and 65,535 files
const STORED = 0, DEFLATED = 8, UTF8_NAME = 0x0800, FIRST_OF_JANUARY_1980 = 0x21;

// Several archives where one would be too large; the tables are in the last.
function saveZip(entries, tables) {
  const parts = inParts([...entries, ...tables.map(({ name, text }) => storedEntry(name, new TextEncoder().encode(text)))]);
  for (const [n, part] of parts.entries()) save(zip(part), parts.length === 1 ? 'spineseg.zip' : `spineseg-${n + 1}.zip`, 'application/zip');
}

const storedEntry = (name, bytes) => ({ name, crc: crc32(bytes), size: bytes.length, method: STORED, content: new Blob([bytes]) });

function inParts(entries) {
  const parts = [[]];
  let bytes = 0;
  for (const entry of entries) {
    bytes += entry.content.size;
    if (bytes > MOST_ZIP_BYTES || parts.at(-1).length === MOST_ZIP_ENTRIES) { parts.push([]); bytes = entry.content.size; }
    parts.at(-1).push(entry);
  }
  return parts;
}

function zip(entries) {
  const files = [], directory = [];
  let offset = 0;
  for (const { name, crc, size, method, content } of entries) {
    const encoded = new TextEncoder().encode(name);
    const fields = [20, UTF8_NAME, method, 0, FIRST_OF_JANUARY_1980, crc, content.size, size, encoded.length, 0];
    const header = littleEndian([0x04034b50, ...fields], [4, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2]);
    directory.push(littleEndian([0x02014b50, 20, ...fields, 0, 0, 0, 0, offset], [4, 2, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2, 2, 2, 2, 4, 4]), encoded);
    files.push(header, encoded, content);
    offset += header.length + encoded.length + content.size;
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  return [...files, ...directory, littleEndian([0x06054b50, 0, 0, entries.length, entries.length, length, offset, 0], [4, 2, 2, 2, 2, 4, 4, 2])];
}

function littleEndian(values, widths) {
  const view = new DataView(new ArrayBuffer(widths.reduce((sum, width) => sum + width, 0)));
  let at = 0;
  values.forEach((value, n) => { if (widths[n] === 4) view.setUint32(at, value, true); else view.setUint16(at, value, true); at += widths[n]; });
  return new Uint8Array(view.buffer);
}
