// Ce que le HTML ne peut pas dire de lui-même.

// Depuis un fichier local, le navigateur interdit de relire les pages pour résumer les résultats d'une recherche.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Ce qui déborde défile dans sa boîte, et le clavier l'atteint : formules longues, tableaux, code, sorties.
const BOXES = "div.math, mjx-container[display], .pst-scrollable-table-container, div.highlight pre, .cell_output .output, table.dataframe";

const reachable = () => {
  const formulas = [...document.querySelectorAll("mjx-container:not([display])")];
  const wide = formulas.map((formula) => formula.offsetWidth > formula.parentElement.closest("p, li, dd, td, div, summary").clientWidth);
  formulas.forEach((formula, rank) => formula.classList.toggle("large", wide[rank]));
  for (const box of [...document.querySelectorAll(BOXES), ...formulas]) {
    const scrolls = box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible";
    if (!scrolls || box.tabIndex === 0) continue;
    box.tabIndex = 0;
    if (!box.hasAttribute("role")) {
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "Contenu large, à faire défiler");
    }
  }
};

// Celles de l'écran d'abord, d'un coup, pour que le texte ne bouge qu'une fois ; les autres par petits lots :
// la page répond pendant qu'elles se composent.
const typeset = async () => {
  if (!window.MathJax) return;
  const pending = [...document.querySelectorAll(".math")];
  const visible = ({top, bottom}) => top < innerHeight && bottom > 0;
  const first = new Set(pending.filter((formula) => visible(formula.getBoundingClientRect())));
  const ordered = pending.filter((formula) => !first.has(formula));
  await MathJax.startup.promise;
  await MathJax.typesetPromise([...first]);
  while (ordered.length) {
    const started = performance.now();
    while (ordered.length && performance.now() - started < 6) await MathJax.typesetPromise(ordered.splice(0, 3));
    await new Promise((done) => setTimeout(done));
  }
};

// Tenue quand la page ne bougera plus d'elle-même : les tests l'attendent.
window.composed = new Promise((done) => addEventListener("load", () => typeset().then(reachable).then(done)));
addEventListener("resize", reachable);
addEventListener("toggle", reachable, true);
// Un bloc replié par la classe « toggle » s'ouvre sans cet événement.
addEventListener("click", (event) => event.target.closest?.(".toggle-button, .toggle") && setTimeout(reachable));
