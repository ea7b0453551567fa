// The examples: a press opens one, and the one that is shown is marked.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-example]');
  if (button) trigger('example', { index: Number(button.dataset.example) });
});
function mark() {
  const shown = document.querySelector('.viewer')?.dataset.example;
  for (const button of element.querySelectorAll('button')) button.setAttribute('aria-current', button.dataset.name === shown);
}
document.addEventListener('spineseg:film-changed', mark);
new MutationObserver(mark).observe(element, { childList: true, subtree: true }); // in another language
mark();
