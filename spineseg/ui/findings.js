// The presses among what is said of a film: which one it was goes to the server with the event.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-correct]');
  if (!button) return;
  const { correct: action, vertebra } = button.dataset;
  trigger('correct', { action, vertebra: vertebra === undefined ? null : Number(vertebra) });
});
