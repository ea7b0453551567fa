// Who waits in line sees it in words of the page: Gradio says its queue in English. page.css shows what is put beside it.
const WAITING = /queue: (\d+)\/(\d+)/;

function sayWaiting() {
  for (const place of document.querySelectorAll('#viewer .progress-text')) {
    const [, n, count] = WAITING.exec(place.textContent) ?? [];
    const text = n ? say('inLine', { n, count }) : say('working');
    if (place.dataset.said !== text) place.dataset.said = text;
  }
}

const tracked = element.closest('#viewer');
if (tracked) new MutationObserver(sayWaiting).observe(tracked, { subtree: true, childList: true, characterData: true });
