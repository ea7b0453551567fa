// The page's texts in the visitor's language: the one that was chosen with the switch, which a cookie keeps, else the
// browser's. Keys stand at the elements: data-text, data-html, data-title, data-label. The texts are in ui/languages/.
const LANGUAGE_COOKIE = 'spineseg-language';
const LANGUAGE_PLACES = { text: 'textContent', html: 'innerHTML', title: 'title', label: 'ariaLabel' };

// A browser without storage refuses cookies too.
function chosenLanguage() {
  try {
    return document.cookie.match(`(?:^|; )${LANGUAGE_COOKIE}=([\\w-]+)`)?.[1];
  } catch {
    return undefined;
  }
}

function language() {
  const chosen = chosenLanguage();
  const wanted = [chosen, ...navigator.languages.map((code) => code.toLowerCase().split('-')[0])];
  return wanted.find((code) => Object.hasOwn(props.texts, code)) ?? 'en';
}

// values: for what stands in braces.
const say = (key, values = {}) => props.texts[language()][key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');

function fillTexts() {
  for (const [kind, property] of Object.entries(LANGUAGE_PLACES))
    for (const place of element.querySelectorAll(`[data-${kind}]`)) place[property] = say(place.dataset[kind]);
}

fillTexts();
document.addEventListener('spineseg:language', fillTexts);
