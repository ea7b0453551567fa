// Dark or light, for this tab only: nothing is stored.
element.addEventListener('click', (event) => event.target.closest('.dark-mode') && document.body.classList.toggle('dark'));
