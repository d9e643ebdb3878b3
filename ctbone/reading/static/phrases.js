// The page's words in the reader's language.

export const LANGUAGES = { en: "English", de: "Deutsch", zh: "中文" };
const STORED = "ctbone-language";

/** The chosen language, or the first of the browser's that there is. */
export function language() {
  const wanted = [localStorage.getItem(STORED), ...navigator.languages];
  return wanted.map((name) => name?.slice(0, 2)).find((name) => name in LANGUAGES) ?? "en";
}

export function chooseLanguage(name) {
  localStorage.setItem(STORED, name);
}

/** All phrases of a language; those that a file lacks are English. */
export async function loadPhrases(name) {
  const read = async (one) => (await fetch(`/static/${one}.json`)).json();
  const [english, own] = await Promise.all([read("en"), read(name)]);
  return { ...english, ...own };
}

export function fill(phrase, values) {
  return phrase.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
