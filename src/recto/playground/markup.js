// Maths and code in a card's text. The rules are those of recto/text/markup.py, which has the words for them. Maths is
// shown by Temml, as the browser's own MathML; it is loaded for the first formula.

const PARTS = new RegExp(
  [
    /\n?```(?:[A-Za-z0-9+#.-]*\n)?(?<pre>(?:(?!```).)+)```\n?/,
    /(?<!`)`(?<code>[^`\n]+)`(?!`)/,
    /\n?(?<![\\$])\$\$(?!\$)(?<display>(?:\\.|(?!\$\$)[^\\])+)\$\$(?!\$)\n?/,
    /\n?(?<!\\)\\\[(?<bracketed>(?:[^\\]|\\[^\[\]])+)\\\]\n?/,
    /(?<!\\)\\\((?<parenthesised>(?:[^\\]|\\[^()])+)\\\)/,
    /(?<![A-Za-z0-9$\\])\$(?=[^\s$])(?![0-9][^\\{$\n]*\s\(?[A-Za-z\u00c0-\uffff]{2})(?<maths>(?:\\.|[^\\$\n])+)(?<!\s)\$(?![0-9$]|[A-Za-z]{3})/,
  ]
    .map(({ source }) => source)
    .join("|"),
  "gs",
);
const KINDS = { parenthesised: "maths", bracketed: "display" };

/** A card's text → {kind: "text" | "maths" | "display" | "code" | "pre", body, typed} in order. */
export function parts(text) {
  const found = [];
  let end = 0;
  for (const { 0: typed, index, groups } of text.matchAll(PARTS)) {
    const [name, body] = Object.entries(groups).find(([, value]) => value !== undefined);
    if (!body.trim()) continue;
    found.push({ kind: "text", body: text.slice(end, index) });
    found.push({ kind: KINDS[name] ?? name, body: name === "pre" ? body.replace(/\n+$/, "") : body, typed });
    end = index + typed.length;
  }
  found.push({ kind: "text", body: text.slice(end) });
  return found.filter(({ body }) => body);
}

/** Show a card's text in `target`, in place of what it holds. */
export function showText(target, text) {
  target.replaceChildren(...parts(text).map(({ kind, body, typed }) => SHOWN[kind](body, typed)));
}

const SHOWN = {
  text: (body) => body,
  code: (body) => codeElement(body, false),
  pre: (body) => codeElement(body, true),
  maths: (body, typed) => formulaElement(body, typed, false),
  display: (body, typed) => formulaElement(body, typed, true),
};

function codeElement(body, isBlock) {
  const code = document.createElement("code");
  code.textContent = body;
  code.classList.toggle("is-block", isBlock);
  return code;
}

/** What was typed, until the formula can be shown, and for good if it is no LaTeX. A cloze card's gap may be in it. */
function formulaElement(latex, typed, isBlock) {
  const shown = document.createElement("span");
  shown.textContent = typed;
  loadTemml()
    .then((temml) => {
      const formula = document.createElement("span");
      temml.render(latex.replaceAll("____", "\\_\\_\\_\\_"), formula, { displayMode: isBlock, throwOnError: true, maxSize: LONGEST });
      for (const named of formula.querySelectorAll("[id]")) named.removeAttribute("id"); // \label; ids are the page's
      shown.replaceChildren(...formula.childNodes);
    })
    .catch(() => {});
  return shown;
}

const LONGEST = [20, 200]; // em, pt
const TEMML = new URL("vendor/temml/", import.meta.url);

let temml = null; // a promise of the library

const loadTemml = () => (temml ??= Promise.all([load("link", "Temml-Local.css"), load("script", "temml.min.js")]).then(
  () => window.temml,
  (error) => {
    temml = null; // the next formula tries again
    throw error;
  },
));

function load(tag, file) {
  const { href } = new URL(file, TEMML);
  const source = tag === "link" ? { rel: "stylesheet", href } : { src: href };
  const loading = Object.assign(document.createElement(tag), source);
  return new Promise((resolve, reject) => {
    loading.addEventListener("load", resolve);
    loading.addEventListener("error", reject);
    document.head.append(loading);
  });
}
