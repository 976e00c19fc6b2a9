// Les quiz. Sans ce script, des réponses repliées ; avec lui, ouvrir une réponse, c’est la choisir : on lit si elle
// est juste, son explication, et le compte des questions trouvées. La bonne réponse est celle qui commence par « Oui ».
document.addEventListener("DOMContentLoaded", () => {
  const section = document.getElementById("quiz");
  if (!section) return;

  const make = (tag, attributes, text = "") => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return made;
  };
  const questions = [];

  // Une question va de son paragraphe au suivant.
  for (const child of [...section.children]) {
    if (child.matches("p") && /^Question\s/.test(child.textContent)) {
      child.id ||= `quiz-question-${questions.length + 1}`;
      const group = make("div", { class: "quiz-question", role: "group", "aria-labelledby": child.id });
      child.before(group);
      questions.push({ group, tries: 0, found: false });
    }
    if (questions.length && !child.matches("h2, .headerlink")) questions.at(-1).group.append(child);
  }
  if (!questions.length) return;

  const score = make("p", { class: "quiz-score", role: "status" });
  const again = make("button", { type: "button", class: "quiz-again", hidden: "" }, "Recommencer le quiz");

  for (const question of questions) {
    question.status = make("p", { class: "quiz-status", role: "status" });
    question.options = [...question.group.querySelectorAll("details")].map((details) => {
      const summary = details.querySelector("summary");
      const verdict = make("span", { class: "quiz-verdict" });
      const right = /^\s*Oui/.test(details.querySelector(".sd-summary-content").textContent);
      summary.prepend(make("span", { class: "quiz-mark", "aria-hidden": "true" }));
      summary.append(verdict);
      // Le clic, et non l’ouverture : la recherche dans la page et l’impression ouvrent aussi.
      summary.addEventListener("click", () => {
        if (!details.open && !verdict.textContent) choose(question, { details, verdict, right });
      });
      return { details, verdict };
    });
    question.group.append(question.status);
  }
  section.append(score, again);

  function choose(question, { details, verdict, right }) {
    verdict.textContent = right ? "✓ Juste" : "✗ Faux";
    details.classList.add(right ? "quiz-right" : "quiz-wrong");
    if (!question.found) {
      question.tries++;
      question.found = right;
      question.status.textContent = right
        ? `Juste${question.tries > 1 ? `, au bout de ${question.tries} essais` : ", du premier coup"}.`
        : "Faux. L’explication est sous la réponse ; choisissez-en une autre.";
    }
    const found = questions.filter((one) => one.found);
    const first = found.filter((one) => one.tries === 1).length;
    const plural = first > 1 ? "s" : "";
    again.hidden = false;
    if (found.length === questions.length)
      score.textContent = `Quiz terminé\u00a0: ${first} question${plural} trouvée${plural} du premier coup, sur ${questions.length}.`;
  }

  again.addEventListener("click", () => {
    for (const question of questions) {
      Object.assign(question, { tries: 0, found: false });
      question.status.textContent = "";
      for (const { details, verdict } of question.options) {
        details.open = false;
        details.classList.remove("quiz-right", "quiz-wrong");
        verdict.textContent = "";
      }
    }
    score.textContent = "";
    again.hidden = true;
    questions[0].options[0].details.querySelector("summary").focus();
  });
});
