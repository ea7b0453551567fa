// Who waits in line sees and hears it in words of the page: Gradio says its queue in English in most languages. page.css
// shows what is put beside its words.
const IN_LINE = /queue: (\d+)(?:\/| of )(\d+)/, BARE_KEY = /^[a-z]+\.[a-z_]+$/;
let heard = null; // where Gradio writes what is read aloud

function inLine(text) {
  const [, n, count] = IN_LINE.exec(text) ?? [];
  return n && say('inLine', { n, count });
}

function sayWaiting() {
  if (!heard) listen();
  for (const place of document.querySelectorAll('#viewer .progress-text')) {
    const text = inLine(place.textContent) ?? say('working');
    if (place.dataset.said !== text) place.dataset.said = text;
  }
}

const tracked = element.closest('#viewer');
if (tracked) new MutationObserver(sayWaiting).observe(tracked, { subtree: true, childList: true, characterData: true });

// For a word that Gradio lacks in a language it reads the word's key, as "common.complete".
const readAloud = new MutationObserver(([{ target }]) => {
  const said = target.textContent, text = inLine(said) ?? (BARE_KEY.test(said) ? '' : said);
  if (text !== said) target.textContent = text;
});

function listen() {
  heard = document.querySelector('.sr-only[role="status"]');
  if (heard) readAloud.observe(heard, { subtree: true, characterData: true });
}
