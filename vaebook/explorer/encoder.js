// « Soyez l’encodeur » : l’exemple suivi, par quadrature dans la page, sur la grille de `RunningExample`.

const POINTS = 4001, EDGE = 10, STEP = (2 * EDGE) / (POINTS - 1), LOG_2PI = Math.log(2 * Math.PI);
const GRID = Float64Array.from({ length: POINTS }, (_, i) => -EDGE + i * STEP);
const VIEW = { left: -3.2, right: 3.2, top: 2 }; // ce que montre le tracé des densités
const RANGE = { m: [-3, 3], s: [0.1, 1.5], beta: [0, 4] };

const logGaussian = (value, mean, deviation) =>
  -0.5 * ((value - mean) / deviation) ** 2 - Math.log(deviation) - 0.5 * LOG_2PI;

function model(x, sigma) {
  const logLikelihood = GRID.map((z) => logGaussian(x, 2 * Math.tanh(2 * z), sigma));
  const logJoint = GRID.map((z, i) => logLikelihood[i] + logGaussian(z, 0, 1));
  const logPx = Math.log(logJoint.reduce((sum, value) => sum + Math.exp(value), 0) * STEP);

  // Chaque terme, suivi de ses dérivées en m et en s, en nats.
  function terms(m, s, beta) {
    const reconstruction = [0, 0, 0];
    let gap = 0;
    for (let i = 0; i < POINTS; i++) {
      const logQ = logGaussian(GRID[i], m, s);
      const mass = Math.exp(logQ) * STEP;
      const centred = (GRID[i] - m) / s;
      reconstruction[0] += mass * logLikelihood[i];
      reconstruction[1] += mass * logLikelihood[i] * (centred / s);
      reconstruction[2] += mass * logLikelihood[i] * ((centred ** 2 - 1) / s);
      gap += mass * (logQ - logJoint[i] + logPx);
    }
    const kl = [0.5 * (m * m + s * s - 1) - Math.log(s), m, s - 1 / s];
    const minus = (weight) => reconstruction.map((value, k) => value - weight * kl[k]);
    return { reconstruction, kl, elbo: minus(1), objective: minus(beta), gap, logPx };
  }
  return { terms, logJoint, logPx };
}

function build(host, panel, { x, sigma, start }) {
  const state = { ...start };
  const { terms, logJoint, logPx } = model(x, sigma);

  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 600 200");
  svg.setAttribute("preserveAspectRatio", "none");
  const curve = (name) => {
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("class", name);
    svg.append(path);
    return (density) => {
      let line = "";
      for (let column = 0; column <= 300; column++) {
        const z = VIEW.left + ((VIEW.right - VIEW.left) * column) / 300;
        line += `${column ? "L" : "M"}${2 * column} ${(200 * (1 - density(z) / VIEW.top)).toFixed(1)}`;
      }
      path.setAttribute("d", line);
    };
  };
  const drawPosterior = curve("posterior"), drawPrior = curve("prior"), drawQ = curve("q");
  const at = (z) => logJoint[Math.round((z + EDGE) / STEP)];
  drawPosterior((z) => Math.exp(at(z) - logPx));
  drawPrior((z) => Math.exp(logGaussian(z, 0, 1)));

  const across = (z) => (100 * (z - VIEW.left)) / (VIEW.right - VIEW.left);
  const handle = element("span", { class: "handle" });
  const plot = element("div", { class: "plot", role: "img" }, svg, handle);
  const ticks = [-3, -2, -1, 0, 1, 2, 3].map((z) =>
    element("span", { style: `left: ${across(z)}%` }, french(z, 0)));
  const key = (name, text) => element("li", {}, element("span", { class: `key ${name}` }), text);
  const legend = element("ul", { class: "legend", role: "list", "aria-label": "Courbes" },
    key("posterior", "p(z|x), exacte"), key("prior", "p(z)"), key("q", "q = N(m, s²), la vôtre"));

  const LABELS = { m: "moyenne m", s: "écart-type s", beta: "β" };
  const sliders = Object.fromEntries(Object.entries(RANGE).map(([name, [min, max]]) =>
    [name, slider(LABELS[name], { min, max, step: 0.01, value: state[name] }, (value) => change({ [name]: value }))]));
  const climb = element("button", { type: "button" }, "Suivre le gradient : 20 pas");
  climb.addEventListener("click", () => {
    let { m, s } = state;
    for (let step = 0; step < 20; step++) {
      const [, inM, inS] = terms(m, s, state.beta).objective;
      m = clamp(m + 0.02 * inM, ...RANGE.m);
      s = clamp(s * Math.exp(0.02 * s * inS), ...RANGE.s); // un pas en log s : s reste positif
    }
    change({ m, s });
  });

  // Les deux barres ont le même axe : la seconde s’arrête où commence l’écart de la première, si β = 1.
  const low = Math.floor(logPx - 9), high = 0.5;
  const percent = (nats) => 100 * clamp((nats - low) / (high - low), 0, 1);
  const bar = (name) => element("div", { class: `bar ${name}` });
  const span = (node, from, to) => {
    node.style.left = `${percent(Math.min(from, to))}%`;
    node.style.width = `${Math.abs(percent(to) - percent(from))}%`;
  };
  const bars = Object.fromEntries(["elbo", "gap", "recon", "kl"].map((name) => [name, bar(name)]));
  const mark = element("div", { class: "mark", style: `left: ${percent(logPx)}%` });
  const sum = element("div"), difference = element("div");
  const drawing = element("div", { class: "bars", "aria-hidden": "true" },
    sum, element("div", { class: "track" }, bars.elbo, bars.gap, mark),
    difference, element("div", { class: "track" }, bars.recon, bars.kl));

  const ROWS = { reconstruction: ["reconstruction", "recon-text"], kl: ["KL(q‖p(z))", "kl-text"], objective: ["reconstruction − β KL", ""] };
  const cells = {};
  const head = element("tr", {}, ...["en nats", "valeur", "dérivée en m", "dérivée en s"].map((text) => element("th", { scope: "col" }, text)));
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...Object.entries(ROWS).map(([name, [text, style]]) => {
    cells[name] = [0, 1, 2].map(() => element("td"));
    return element("tr", { class: style }, element("th", { scope: "row" }, text), ...cells[name]);
  })));

  const axis = element("div", { class: "scale", "aria-hidden": "true" }, ...ticks);
  panel.append(plot, axis, legend, element("div", { class: "sliders" }, ...Object.values(sliders).map(({ row }) => row)), element("div", { class: "choice" }, climb), drawing, table,
    element("p", { class: "help" }, `x = ${french(x)}. Attrapez le sommet de q, ou bougez les curseurs. Les barres ne partent pas de zéro, mais de ${french(low, 0)} nats.`));
  const say = announcer(panel);

  function change(changes) {
    Object.assign(state, changes);
    for (const [name, { set }] of Object.entries(sliders)) set(state[name]);
    const { m, s, beta } = state;
    const { reconstruction, kl, elbo, objective, gap } = terms(m, s, beta);
    drawQ((z) => Math.exp(logGaussian(z, m, s)));
    handle.style.left = `${across(m)}%`;
    handle.style.top = `${100 * clamp(1 - peak(s) / VIEW.top, 0.04, 1)}%`;
    span(bars.elbo, low, elbo[0]);
    span(bars.gap, elbo[0], logPx);
    span(bars.recon, low, reconstruction[0]);
    span(bars.kl, objective[0], reconstruction[0]);
    sum.replaceChildren(
      element("span", { class: "q-text" }, `ELBO ${french(elbo[0])}`), " + ",
      element("span", { class: "gap-text" }, `KL(q‖p(z|x)) ${french(gap)}`), ` = log p(x) = ${french(logPx)}`);
    difference.replaceChildren(
      element("span", { class: "recon-text" }, `reconstruction ${french(reconstruction[0])}`), " − ",
      element("span", { class: "kl-text" }, `${french(beta)} × KL ${french(kl[0])}`), ` = ${french(objective[0])}`);
    for (const [name, values] of Object.entries({ reconstruction, kl, objective }))
      values.forEach((value, k) => (cells[name][k].textContent = french(value)));
    const text = `m = ${french(m)}, s = ${french(s)}, β = ${french(beta)}. ${sum.textContent}. ${difference.textContent}.`;
    plot.setAttribute("aria-label", `Densités a priori, a posteriori et q. ${text}`);
    say(text);
  }

  const peak = (s) => Math.exp(logGaussian(0, 0, s));
  draggable(plot, (right, down) => change({
    m: clamp(VIEW.left + right * (VIEW.right - VIEW.left), ...RANGE.m),
    s: clamp(peak(1) / Math.max(1e-3, VIEW.top * (1 - down)), ...RANGE.s),
  }));
  change({});
  host.encoder = { terms, change, state }; // pour les essais
}
