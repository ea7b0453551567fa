// Dark or light, for this tab only; and the language, which is remembered.
const languages = element.querySelector('.language');
for (const [code, name] of Object.entries(props.languages)) languages.append(Object.assign(new Option(name, code), { lang: code }));

function showLanguage() {
  document.documentElement.lang = languages.value = language();
}

// Where the page stands in a frame of another site, its own partition of cookies is the one that it has.
function rememberLanguage(code) {
  const scope = location.protocol === 'https:' ? 'SameSite=None; Secure; Partitioned' : 'SameSite=Lax';
  document.cookie = `${LANGUAGE_COOKIE}=${code}; path=/; max-age=31536000; ${scope}`;
}

languages.addEventListener('change', () => {
  rememberLanguage(languages.value);
  showLanguage();
  document.dispatchEvent(new CustomEvent('spineseg:language'));
  trigger('language');
});
element.addEventListener('click', (event) => event.target.closest('.dark-mode') && document.body.classList.toggle('dark'));
showLanguage();
