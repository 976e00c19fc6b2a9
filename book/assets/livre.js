// Ce que le HTML ne peut pas dire de lui-même.

// Depuis un fichier local, le navigateur interdit de relire les pages pour résumer les résultats d'une recherche.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Ce qui déborde défile dans sa boîte, et le clavier l'atteint : formules longues, tableaux, code, sorties.
const BOXES = "div.math, mjx-container[display], .pst-scrollable-table-container, div.highlight pre, .cell_output .output, table.dataframe";

const reachable = () => {
  const formulas = [...document.querySelectorAll("mjx-container:not([display])")];
  const wide = formulas.map((formula) => formula.offsetWidth > formula.parentElement.closest("p, li, dd, td, div, summary").clientWidth);
  formulas.forEach((formula, rank) => formula.classList.toggle("large", wide[rank]));
  const boxes = [...document.querySelectorAll(BOXES), ...formulas];
  const scrolling = boxes.filter((box) => box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible");
  for (const box of scrolling.filter((box) => box.tabIndex !== 0)) {
    box.tabIndex = 0;
    if (!box.hasAttribute("role")) {
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "Contenu large, à faire défiler");
    }
  }
};

// Ce que MathJax doit savoir du texte autour d'une formule, mesuré une fois par police : « typeset » le mesurerait
// à chaque appel, et ferait remettre en place toute la page.
const fonts = new Map();
const metrics = (element) => {
  const {fontStyle, fontWeight, fontSize, fontFamily} = getComputedStyle(element);
  const font = `${fontStyle} ${fontWeight} ${fontSize} ${fontFamily}`;
  if (!fonts.has(font)) {
    const probe = document.body.appendChild(document.createElement("span"));
    probe.style.cssText = `position: absolute; width: 60ex; font: ${font}`;
    const em = parseFloat(fontSize), ex = probe.getBoundingClientRect().width / 60;
    probe.remove();
    fonts.set(font, {em, ex, scale: ex / em / MathJax.startup.output.font.params.x_height});
  }
  return fonts.get(font);
};

// Le texte d'une formule et sa composition, à échanger. Sphinx écrit \(…\) ou \[…\], parfois à côté du numéro.
const compose = (formula) => {
  const text = [...formula.childNodes].find((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const tex = text.data.trim(), display = tex.startsWith("\\[");
  return [text, MathJax.tex2chtml(tex.slice(2, -2), {display, ...metrics(formula.parentElement)})];
};

const place = (composed) => {
  for (const [text, formula] of composed) text.replaceWith(formula);
  MathJax.startup.document.clear().updateDocument();
};

// Les formules de l'écran d'abord, d'un coup, pour que le texte ne bouge qu'une fois. Les autres se composent par
// petits lots, pour que la page réponde, et se placent par cinquantaines : chaque fois, la page est redessinée.
const typeset = async () => {
  if (!window.MathJax) return;
  const pending = [...document.querySelectorAll(".math")];
  const visible = ({top, bottom}) => top < innerHeight && bottom > 0;
  const first = pending.filter((formula) => visible(formula.getBoundingClientRect()));
  const others = pending.filter((formula) => !first.includes(formula));
  await MathJax.startup.promise;
  place(first.map(compose));
  for (const ready = []; others.length; ) {
    await new Promise((done) => setTimeout(done));
    const started = performance.now();
    while (others.length && performance.now() - started < 8) ready.push(compose(others.shift()));
    if (ready.length >= 50 || !others.length) place(ready.splice(0));
  }
};

// Tenue quand la page ne bougera plus d'elle-même : les tests l'attendent.
window.composed = new Promise((done) => addEventListener("load", () => typeset().then(reachable).then(done)));
addEventListener("resize", reachable);
addEventListener("toggle", reachable, true);
// Un bloc replié par la classe « toggle » s'ouvre sans cet événement.
addEventListener("click", (event) => event.target.closest?.(".toggle-button, .toggle") && setTimeout(reachable));
