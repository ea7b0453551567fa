// The buttons that correct names: the viewer, which keeps all that a person changed, is told which one was pressed. Where
// the answer takes away the button that has the focus, *Undo* has it.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-correct]');
  if (!button) return;
  const { correct: action, vertebra } = button.dataset;
  if (action === 'show') return trigger('show');
  const keepFocus = new MutationObserver(() => {
    if (button.isConnected) return;
    keepFocus.disconnect();
    const next = element.querySelector('[data-correct="undo"]') ?? element.querySelector('[data-correct]');
    if (document.activeElement === document.body) next?.focus();
  });
  if (button.matches(':focus-visible')) keepFocus.observe(element, { childList: true, subtree: true });
  document.dispatchEvent(new CustomEvent('spineseg:correct', { detail: { action, vertebra: vertebra === undefined ? null : Number(vertebra) } }));
});
