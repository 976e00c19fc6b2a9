// Ce que partagent les panneaux : la racine d’ombre, le thème, les curseurs, l’annonce, les nombres en français.

const french = (value, digits = 2) =>
  ((Math.round(value * 10 ** digits) || 0) / 10 ** digits).toFixed(digits).replace("-", "−").replace(".", ",");

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Remplit chaque panneau de ce nom qui ne l’est pas encore : une page peut le montrer deux fois.
function mount(id, style, data, build) {
  if (!("DecompressionStream" in window)) return; // navigateur d’avant 2023 : l’image reste
  for (const host of document.querySelectorAll(`[data-vaebook="${id}"]`)) {
    if (host.shadowRoot) continue;
    const panel = element("div", { class: "panel", lang: "fr" });
    host.attachShadow({ mode: "open" }).append(element("style", {}, style), panel);
    followTheme(host, panel);
    build(host, panel, data);
  }
}

// Sombre si le texte de la page est clair : cela vaut pour le livre (data-theme), Colab, JupyterLab et le système.
function followTheme(host, panel) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const update = () => {
    const [red, green, blue] = getComputedStyle(host).color.match(/[\d.]+/g).map(Number);
    panel.classList.toggle("dark", 0.3 * red + 0.6 * green + 0.1 * blue > 128);
    panel.dispatchEvent(new Event("theme"));
  };
  const observer = new MutationObserver(update);
  for (const watched of [document.documentElement, document.body]) observer.observe(watched, { attributes: true });
  system.addEventListener("change", update);
  update();
}

let ids = 0;

// Un curseur étiqueté ; `set` change sa valeur sans prévenir, `text` dit la valeur en français.
function slider(label, { min, max, step, value, text = french }, changed) {
  const id = `curseur-${ids++}`;
  const input = element("input", { type: "range", id, min, max, step });
  const shown = element("span", { class: "value", "aria-hidden": "true" });
  const set = (next) => {
    input.value = next;
    shown.textContent = text(Number(next));
    input.setAttribute("aria-valuetext", text(Number(next)));
  };
  input.addEventListener("input", () => {
    set(input.value);
    changed(Number(input.value));
  });
  set(value);
  return { input, set, row: element("div", { class: "slider" }, element("label", { for: id }, label), input, shown) };
}

// Dit à voix haute où l’on en est, une fois le geste fini.
function announcer(panel) {
  const region = element("div", { class: "unseen", "aria-live": "polite" });
  panel.append(region);
  let waiting;
  return (text) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => (region.textContent = text), 500);
  };
}

// Suit la souris, le doigt ou le stylet : deux nombres de 0 à 1, depuis le coin du haut à gauche.
function draggable(surface, moved) {
  const follow = (event) => {
    const box = surface.getBoundingClientRect();
    moved(
      clamp((event.clientX - box.left) / box.width, 0, 1),
      clamp((event.clientY - box.top) / box.height, 0, 1),
    );
  };
  surface.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    surface.setPointerCapture(event.pointerId);
    follow(event);
  });
  surface.addEventListener("pointermove", (event) => {
    if (surface.hasPointerCapture(event.pointerId)) follow(event);
  });
}
