"""Les fautes de `vaebook.mistakes`, plantées une à une : chacune doit faire échouer un test."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from vaebook.mistakes import IDENTITIES, MISTAKES, Mutant, confront, show_table

ROOT = Path(__file__).resolve().parents[2]
MUSEUM = ROOT / "book" / "pieges.md"

# Ce que voit chaque test : les fautes plantées, par leur nom.
CATCHES = {
    "tests/unit/test_objectives.py": {
        "test_elbo_on_a_case_computed_by_hand": (
            "KL de signe opposé",
            "KL dans l’autre sens",
            "signe devant la KL",
            "z = μ appelé ELBO",
        ),
        "test_closed_form_kl": ("KL sommée sur les images",),
        "test_derivative_of_the_loss_in_beta_is_the_kl": ("β ignoré",),
        "test_bound_and_its_gradient_are_those_of_weights_computed_by_hand": (
            "log p(x|z) multiplié par p(z)",
            "Σ w̃ log w donné pour la borne",
            "l’échantillon de z n’a plus de gradient",
        ),
        "test_unbiased_encoder_gradients_share_the_mean_of_the_standard_one": ("poids softmax(+perte)",),
        "test_sticking_the_landing_has_no_variance_at_the_exact_posterior": ("q non détachée",),
    },
    "tests/unit/test_likelihoods.py": {
        "test_squared_error_is_the_gaussian_of_variance_one_half": (
            "σ² caché : l’écart-type demandé est ignoré",
            "variance prise pour l’écart-type (décodeur)",
        ),
        "test_gaussian_is_scipy_norm": ("somme oubliée sur une dimension de l’image",),
        "test_each_says_what_it_is_a_density_on": (
            "entropie croisée appelée densité",
            "une vraisemblance discrète appelée densité",
        ),
        "test_continuous_bernoulli_integrates_to_one_and_gives_its_mean": (
            "constante de normalisation oubliée",
            "moyenne prise pour le paramètre λ",
        ),
        "test_bernoulli_from_logits_does_not_saturate": ("sigmoïde puis entropie croisée",),
        "test_pixel_gaussian_has_one_floored_sigma_per_pixel": ("plancher de σ oublié",),
    },
    "tests/unit/test_models.py": {
        "test_autoencoder_errors": ("carré oublié",),
        "test_posterior_is_the_mean_and_half_the_log_variance_of_the_head": (
            "une seule variance pour toutes les dimensions",
            "variance prise pour l’écart-type (encodeur)",
        ),
        "test_label_reaches_encoder_decoder_and_prior": (
            "le décodeur ne voit pas l’étiquette",
            "l’encodeur ne voit pas l’étiquette",
            "la loi a priori apprise ne voit pas l’étiquette",
        ),
    },
    "tests/unit/test_training.py": {
        "test_short_last_batch_counts_for_what_it_is": (
            "moyenne des moyennes malgré un lot plus court",
            "retour dans la boucle",
        ),
        "test_beta_schedule_reaches_the_objective": ("montée de β non transmise à l’objectif",),
        "test_early_stopping": ("meilleur modèle choisi sur l’apprentissage",),
        "test_validation_is_taken_from_the_data_and_never_trained_on": (
            "images de validation aussi apprises",
        ),
        "test_saved_models_come_back_whole": ("point de reprise dépicklé",),
    },
    "tests/unit/test_evaluation.py": {
        "test_log_likelihood_of_a_wrong_encoder_tends_to_log_prob_and_beats_the_elbo": (
            "signe devant la KL (évaluation)",
            "z = μ appelé ELBO (évaluation)",
        ),
        "test_log_likelihood_is_exact_at_the_exact_posterior": ("l’ELBO rendu pour la log-vraisemblance",),
        "test_distinct_codes_carry_log_n_and_equal_codes_nothing": (
            "l’a posteriori agrégé pris pour la loi a priori",
        ),
    },
    "tests/unit/test_data.py": {
        "test_the_other_data_set_is_named": ("un jeu de données pris pour un autre",),
    },
    "tests/exact/test_running_example.py": {
        "test_bound_plus_gap_is_the_log_likelihood": (
            "divergence à la loi jointe",
            "somme sans le pas de la grille",
        ),
    },
    "tests/exact/test_ppca.py": {
        "test_posterior_is_bayes_rule": ("le meilleur q diagonal pris pour la loi a posteriori",),
    },
}

WITNESSES = {
    name: f"{file}::{test}"
    for file, tests in CATCHES.items()
    for test, names in tests.items()
    for name in names
}
MUTANTS = {mutant.name: mutant for mistake in MISTAKES for mutant in mistake.mutants}


class Results(NamedTuple):
    codes: dict[str, int]  # nom de la faute plantée -> code de retour de pytest
    passed: set[str]  # les tests qui passent sans faute


@pytest.fixture(scope="module")
def results() -> Results:
    def planted(mutant: Mutant) -> list[object]:
        return [mutant.file, mutant.before, mutant.after, [WITNESSES[mutant.name]]]

    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("mutants.py"))],
        input=json.dumps([planted(mutant) for mutant in MUTANTS.values()]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    return Results(dict(zip(MUTANTS, found["codes"], strict=True)), set(found["passed"]))


@pytest.mark.parametrize("name", MUTANTS)
def test_planted_mistake_turns_its_test_red(results, name):
    assert results.codes[name] == 1


@pytest.mark.parametrize("test", sorted(set(WITNESSES.values())))
def test_without_a_mistake_the_same_test_passes(results, test):
    assert test in results.passed


# La liste elle-même.


def test_every_planted_mistake_has_one_test():
    names = [mutant.name for mistake in MISTAKES for mutant in mistake.mutants]
    assert len(names) == len(set(names))
    assert sorted(names) == sorted(WITNESSES)


def test_every_mistake_is_planted_or_says_why_not():
    assert [mistake.number for mistake in MISTAKES] == list(range(1, 24))
    assert len({mistake.key for mistake in MISTAKES}) == len(MISTAKES)
    for mistake in MISTAKES:
        assert bool(mistake.mutants) != bool(mistake.prose_only), mistake.key
        assert mistake.statement.endswith("."), mistake.key
        assert mistake.caught_by, mistake.key
        assert set(mistake.identities) <= set(IDENTITIES), mistake.key
        assert mistake.chapter.startswith("chap-"), mistake.key


PIECE = re.compile(r"((?:^\(piege-[a-z0-9-]+\)=\n)+)^#+ [^\n]+\n(.*?)(?=^#|^\(|\Z)", re.MULTILINE | re.DOTALL)


def test_every_museum_piece_shows_mistakes_of_the_list():
    """Son étiquette est « piege-<clé> », puis un chiffre à partir de la deuxième ; elle dit ses numéros."""
    numbers = {mistake.key: mistake.number for mistake in MISTAKES}
    chapters = {mistake.number: mistake.chapter for mistake in MISTAKES}
    shown = []
    text = MUSEUM.read_text(encoding="utf-8")
    pieces = PIECE.findall(text)
    assert sum(labels.count("(piege-") for labels, _ in pieces) == text.count("\n(piege-")
    for labels, body in pieces:
        keys = [re.sub(r"-\d+$", "", label) for label in re.findall(r"\(piege-(.*)\)=", labels)]
        said = re.match(r"\s*\*\*Fautes? ([\d, et]+)\.\*\*", body)
        assert said, labels
        assert [int(number) for number in re.findall(r"\d+", said[1])] == [numbers[key] for key in keys]
        assert any(f"{{ref}}`{chapters[numbers[key]]}`" in body for key in keys), labels
        assert body.count("```{code-cell}") >= 1, labels
        shown += keys
    assert Counter(shown) == Counter({mistake.key: mistake.pieces for mistake in MISTAKES})
    assert len(set(shown)) >= 15


def test_the_table_lists_every_mistake_and_links_every_piece(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    show_table()
    [bundle] = shown
    assert bundle["text/html"].count("<tr>") == len(MISTAKES) + 1
    links = re.findall(r'href="#(piege-[^"]*)"', bundle["text/html"])
    assert sorted(links) == sorted(re.findall(r"^\((piege-.*)\)=$", MUSEUM.read_text(encoding="utf-8"), re.M))
    lines = bundle["text/plain"].splitlines()
    assert max(map(len, lines)) <= 88  # la largeur d'une page du PDF
    words = " ".join(bundle["text/plain"].split())
    assert all(" ".join(mistake.statement.split()) in words for mistake in MISTAKES)


@pytest.mark.parametrize(("wrong", "right"), [(1.0, 1.0), (2.0, 2.0)])
def test_an_identity_that_separates_nothing_is_refused(wrong, right):
    with pytest.raises(AssertionError, match="ne sépare pas"):
        confront("a = b", 1.0, wrong=wrong, right=right)


def test_both_members_are_printed_with_their_gap(capsys):
    confront("a = b", 1.5, wrong=-2, right=1.5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a = b"
    assert [re.search(r"−?\d+,\d{6}", line)[0] for line in lines[1:]] == [
        "1,500000",
        "−2,000000",
        "1,500000",
    ]
    assert "écart 3,5" in lines[2]
    assert "écart 0,0" in lines[3]
