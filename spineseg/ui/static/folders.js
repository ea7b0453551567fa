// Files of folders that are chosen or dropped: { name, file }, name with the path below. What cannot be read: { name }.
const QUIET = /(^|\/)(\._[^/]*|\.DS_Store|Thumbs\.db|desktop\.ini|__MACOSX)(\/|$)/i; // what systems put beside files
const withPaths = (files) => [...files].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
const withoutQuiet = (found) => found.filter(({ name }) => !QUIET.test(name));
const byName = (found) => found.toSorted((one, other) => (one.name < other.name ? -1 : 1)); // browsers and archives differ
const chosenFiles = (files) => withoutQuiet(files[0]?.webkitRelativePath ? byName(withPaths(files)) : withPaths(files));

// To be called before anything is awaited: after that the browser empties the transfer.
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean), files = [...transfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return chosenFiles(files);
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return withoutQuiet(byName(found));
}

async function walk(entry, found) {
  const answer = (method) => new Promise((resolve, reject) => { method(resolve, reject); });
  const name = entry.fullPath.slice(1);
  try {
    if (entry.isFile) return found.push({ name, file: await answer((...both) => entry.file(...both)) });
    const reader = entry.createReader();
    let some;
    do { // at most 100 at a time
      some = await answer((...both) => reader.readEntries(...both));
      for (const each of some) await walk(each, found);
    } while (some.length);
  } catch {
    found.push({ name });
  }
}
