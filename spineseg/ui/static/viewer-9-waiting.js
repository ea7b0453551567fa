// Who waits in line sees it in words of the page: Gradio says its queue in English. page.css shows what is put beside it.
let heard = null; // where Gradio writes what is read aloud
const WAITING = /queue: (\d+)\/(\d+)/;

function sayWaiting() {
  if (!heard) listen();
  for (const place of document.querySelectorAll('#viewer .progress-text')) {
    const [, n, count] = WAITING.exec(place.textContent) ?? [];
    const text = n ? say('inLine', { n, count }) : say('working');
    if (place.dataset.said !== text) place.dataset.said = text;
  }
}

const tracked = element.closest('#viewer');
if (tracked) new MutationObserver(sayWaiting).observe(tracked, { subtree: true, childList: true, characterData: true });

// Gradio reads its states aloud. For a word that it lacks in a language it reads the word's key, as "common.complete".
const BARE_KEY = /^[a-z]+\.[a-z_]+$/;
const untranslated = new MutationObserver(([{ target }]) => { if (BARE_KEY.test(target.textContent)) target.textContent = ''; });
function listen() {
  heard ??= document.querySelector('.sr-only[role="status"]');
  if (heard) untranslated.observe(heard, { subtree: true, characterData: true });
}
