// The buttons that correct names: the viewer, which keeps all that a person changed, is told which one was pressed.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-correct]');
  if (!button) return;
  const { correct: action, vertebra } = button.dataset;
  if (action === 'show') return trigger('show');
  document.dispatchEvent(new CustomEvent('spineseg:correct', { detail: { action, vertebra: vertebra === undefined ? null : Number(vertebra) } }));
});
