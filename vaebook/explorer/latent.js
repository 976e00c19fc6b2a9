// L’explorateur d’un espace latent à deux dimensions : le décodeur tourne dans la page.

// Déplie les nombres, dans l’ordre où `latent.py` les a rangés ; chaque tableau commence à un multiple de 4 octets.
async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  let offset = 0;
  return (Kind, count) => {
    const taken = new Kind(buffer, offset, count);
    offset += Math.ceil(taken.byteLength / 4) * 4;
    return taken;
  };
}

const LINKS = {
  sigmoid: (t) => 1 / (1 + Math.exp(-t)),
  identity: (t) => t,
  // La moyenne de la Bernoulli continue, en fonction de son logit.
  continuous: (t) => (Math.abs(t) < 1e-2 ? 0.5 + t / 12 : 1 / (1 - Math.exp(-t)) - 1 / t),
};

// ReLU(W a + b), couche après couche ; la dernière sans ReLU, suivie du lien.
function decoder({ layers, link }, take) {
  const network = layers.map(([inputs, outputs, quantised]) => {
    const bias = take(Float32Array, outputs);
    return { inputs, bias, weights: matrix(take, inputs, outputs, quantised), values: new Float32Array(outputs) };
  });
  const last = network.at(-1).values;
  const toImage = LINKS[link];
  return (input) => {
    let previous = input;
    for (const { inputs, weights, bias, values } of network) {
      for (let row = 0, at = 0; row < values.length; row++) {
        let sum = bias[row];
        for (let column = 0; column < inputs; column++) sum += weights[at++] * previous[column];
        values[row] = values === last ? toImage(sum) : Math.max(0, sum);
      }
      previous = values;
    }
    return previous;
  };
}

// Une matrice, dépliée une fois pour toutes si elle est faite d’entiers, avec une échelle par ligne.
function matrix(take, inputs, outputs, quantised) {
  if (!quantised) return take(Float32Array, inputs * outputs);
  const scale = take(Float32Array, outputs);
  const integers = take(Int8Array, inputs * outputs);
  const weights = new Float32Array(inputs * outputs);
  for (let row = 0, at = 0; row < outputs; row++)
    for (let column = 0; column < inputs; column++, at++) weights[at] = scale[row] * integers[at];
  return weights;
}

async function build(host, panel, data) {
  const { span, classes, colours, conditional, parameter, models, shape, points } = data;
  const state = { z: [0, 0], model: 0, label: 0 };
  const named = classes.length > 0;

  const cloud = element("canvas", { "aria-hidden": "true" });
  const handle = element("span", { class: "handle" });
  const pad = element(
    "div",
    { class: "pad", tabindex: "0", role: "application", "aria-label": "Plan des codes z₁, z₂ : flèches pour déplacer le code, touche Début pour revenir au centre" },
    cloud,
    element("span", { class: "name", style: "right: 0; bottom: 50%", "aria-hidden": "true" }, "z₁"),
    element("span", { class: "name", style: "left: 50%; top: 0", "aria-hidden": "true" }, "z₂"),
    handle,
  );
  const image = element("canvas", { class: "image", role: "img", width: shape[1], height: shape[0] });
  const reading = element("p", { "aria-hidden": "true" });
  const axis = { min: -span, max: span, step: 0.01, value: 0 };
  const sliders = ["z₁", "z₂"].map((name, k) => slider(name, axis, (value) => move(k ? [state.z[0], value] : [value, state.z[1]])));
  const controls = sliders.map(({ row }) => row);
  if (models.length > 1) {
    const steps = { min: 0, max: models.length - 1, step: 1, value: 0, text: (k) => models[k].name };
    controls.push(slider(parameter, steps, (k) => { state.model = k; paint(); render(); }).row);
  }
  const choices = [];
  if (conditional) {
    const select = element("select", { id: "classe" }, ...classes.map((name, k) => element("option", { value: k }, name)));
    select.addEventListener("input", () => { state.label = Number(select.value); paint(); render(); });
    choices.push(element("div", { class: "choice" }, element("label", { for: "classe" }, "Étiquette y"), select));
  }
  const legend = element("ul", { class: "legend", role: "list", "aria-label": "Classes des points" });
  legend.append(...(points ? classes : []).map((name, k) => element("li", {}, element("span", { class: "disc", style: `background: ${colours[k]}` }, String(k)), name)));
  panel.append(
    element("div", { class: "columns" }, pad, element("div", { class: "side" }, image, ...choices, element("div", { class: "sliders" }, ...controls), reading)),
    legend,
    element("p", { class: "help" }, "Glissez le point, ou bougez les curseurs ; sur le plan, les flèches du clavier."),
  );
  const say = announcer(panel);

  const take = await unpack(data.binary);
  const labels = take(Uint8Array, points);
  const decoders = models.map((model) => decoder(model, take));
  const clouds = models.map(() => take(Int16Array, 2 * points));
  const toCode = (1.25 * span) / 32767;
  const brush = image.getContext("2d");
  const pixels = brush.createImageData(shape[1], shape[0]);
  const input = new Float32Array(2 + (conditional ? classes.length : 0));

  function decode([z1, z2], model = state.model, label = state.label) {
    input.fill(0);
    input.set([z1, z2]);
    if (conditional) input[2 + label] = 1;
    return decoders[model](input);
  }

  function render() {
    const values = decode(state.z);
    for (let i = 0; i < values.length; i++) {
      pixels.data[4 * i] = pixels.data[4 * i + 1] = pixels.data[4 * i + 2] = 255 * values[i];
      pixels.data[4 * i + 3] = 255;
    }
    brush.putImageData(pixels, 0, 0);
    handle.style.left = `${50 + (50 * state.z[0]) / span}%`;
    handle.style.top = `${50 - (50 * state.z[1]) / span}%`;
    const where = `z₁ = ${french(state.z[0])} ; z₂ = ${french(state.z[1])}`;
    const model = models.length > 1 ? `${parameter} = ${models[state.model].name} ; ` : "";
    const text = `${model}${where}. ${conditional ? `Étiquette : ${classes[state.label]}.` : neighbours()}`;
    reading.textContent = text;
    say(text);
    image.setAttribute("aria-label", `Image décodée. ${text}`);
  }

  // La classe la plus fréquente parmi les quinze codes les plus proches : ce que l’œil lit sur le nuage.
  const distances = new Float64Array(points);
  function neighbours() {
    if (!points || !named) return "";
    const codes = clouds[state.model];
    for (let i = 0; i < points; i++)
      distances[i] = (codes[2 * i] * toCode - state.z[0]) ** 2 + (codes[2 * i + 1] * toCode - state.z[1]) ** 2;
    const among = Math.min(15, points);
    const farthest = distances.slice().sort()[among - 1];
    const counts = classes.map(() => 0);
    for (let i = 0; i < points; i++) if (distances[i] <= farthest) counts[labels[i]]++;
    const most = Math.max(...counts);
    return `Codes voisins : ${classes[counts.indexOf(most)]}, ${most} sur ${among}.`;
  }

  // Le nuage, refait quand le modèle, l’étiquette, le thème ou la taille change.
  function paint() {
    const size = pad.clientWidth;
    if (!size) return;
    const ratio = window.devicePixelRatio || 1;
    cloud.width = cloud.height = Math.round(size * ratio);
    const context = cloud.getContext("2d");
    context.scale(ratio, ratio);
    const at = (value, sign) => size / 2 + (sign * value * size) / (2 * span);
    const line = getComputedStyle(panel).getPropertyValue("--line");
    context.strokeStyle = line;
    context.lineWidth = 1;
    context.globalAlpha = 0.6;
    context.beginPath();
    context.moveTo(0, size / 2);
    context.lineTo(size, size / 2);
    context.moveTo(size / 2, 0);
    context.lineTo(size / 2, size);
    context.stroke();
    const codes = clouds[state.model];
    for (const front of [false, true]) {
      for (let i = 0; i < points; i++) {
        const chosen = !conditional || labels[i] === state.label;
        if (chosen !== front) continue;
        context.globalAlpha = chosen ? 0.7 : 0.35;
        context.fillStyle = chosen && named ? colours[labels[i]] : line;
        context.beginPath();
        context.arc(at(codes[2 * i] * toCode, 1), at(codes[2 * i + 1] * toCode, -1), conditional && chosen ? 3 : 2, 0, 7);
        context.fill();
      }
    }
    context.globalAlpha = 1;
    context.font = `bold ${Math.round(size / 26)}px sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    // Le numéro de chaque classe, là où elle est la mieux entourée : la couleur n’est pas seule à la dire.
    for (const [k, [x, y]] of (models[state.model].spots || []).entries()) {
      context.beginPath();
      context.arc(at(x, 1), at(y, -1), size / 32, 0, 7);
      context.fillStyle = colours[k];
      context.fill();
      context.strokeStyle = context.fillStyle = "#fff";
      context.stroke();
      context.fillText(k, at(x, 1), at(y, -1));
    }
    if (conditional) [...legend.children].forEach((entry, k) => entry.classList.toggle("chosen", k === state.label));
  }

  function move(z) {
    state.z = z.map((value) => clamp(value, -span, span));
    sliders.forEach(({ set }, k) => set(state.z[k]));
    render();
  }

  draggable(pad, (x, y) => move([span * (2 * x - 1), span * (1 - 2 * y)]));
  pad.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.5 : 0.1;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    const by = event.key === "Home" ? state.z.map((value) => -value) : moves[event.key];
    if (!by || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    move(state.z.map((value, k) => value + by[k]));
  });
  panel.addEventListener("theme", paint);
  new ResizeObserver(paint).observe(pad);
  render();
  performance.mark("vaebook-first-image");
  host.explorer = { decode, move, state }; // pour les essais
}
