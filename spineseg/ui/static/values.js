// Asks the server for the open film's own values, one part after the other, and hands each to the viewer. Of a film that
// was replaced nothing more is asked for.
const NO_PART_MS = 30000, MOST_TRIES = 3;
let asked = null, timer = 0; // asked: { film, hash, part, tries }

function ask(part, tries = 1) {
  const { film, hash } = asked;
  Object.assign(asked, { part, tries });
  clearTimeout(timer);
  timer = setTimeout(() => (tries < MOST_TRIES ? ask(part, tries + 1) : tell({ film, hash })), NO_PART_MS);
  trigger('part', { film, hash, part });
}

function stop() {
  clearTimeout(timer);
  asked = null;
}

function tell(value) {
  document.dispatchEvent(new CustomEvent('spineseg:values-part', { detail: value }));
}

document.addEventListener('spineseg:film-changed', stop);
document.addEventListener('spineseg:values-wanted', ({ detail: { film, hash } }) => {
  if (!element.isConnected) return;
  asked = { film, hash };
  ask(0);
});

watch('value', () => {
  const value = props.value;
  if (!asked || !value || value.film !== asked.film || value.hash !== asked.hash || value.part !== asked.part) return;
  const { film, hash } = asked, { part, parts, codes } = value;
  tell(value);
  if (codes && part + 1 < parts) return ask(part + 1);
  stop();
  trigger('part', { film, hash, part: -1 }); // the server's answer takes the place of the last part in Gradio's record
});
