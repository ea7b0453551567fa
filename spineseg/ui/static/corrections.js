// The buttons that correct names: which one was pressed goes to the server with the event.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-correct]');
  if (!button) return;
  const { correct: action, vertebra } = button.dataset;
  trigger('correct', { action, vertebra: vertebra === undefined ? null : Number(vertebra) });
});
