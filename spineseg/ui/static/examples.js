// The examples: a press opens one, and the one that is shown is marked.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-example]');
  if (button) trigger('example', { index: Number(button.dataset.example) });
});
function mark() {
  const shown = document.querySelector('.viewer')?.dataset.example;
  for (const button of element.querySelectorAll('button')) {
    const current = String(button.dataset.name === shown);
    if (button.getAttribute('aria-current') !== current) button.setAttribute('aria-current', current);
  }
}
document.addEventListener('spineseg:film-changed', mark);
// Gradio takes the marks away where it writes the captions in another language.
new MutationObserver(mark).observe(element, { childList: true, subtree: true, attributeFilter: ['aria-current'] });
mark();
