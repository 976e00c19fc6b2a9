"""Les fautes classiques, plantées une à une dans le paquet : chacune doit faire échouer des tests.

Le numéro est celui de la faute dans la liste du cours (musée des bogues).
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

LIKELIHOODS, MODELS = "tests/unit/test_likelihoods.py", "tests/unit/test_models.py"
OBJECTIVES, TRAINING = "tests/unit/test_objectives.py", "tests/unit/test_training.py"
EVALUATION, DATA = "tests/unit/test_evaluation.py", "tests/unit/test_data.py"


class Mutant(NamedTuple):
    mistake: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


BY_HAND = f"{OBJECTIVES}::test_elbo_on_a_case_computed_by_hand"

MUTANTS = [
    Mutant(
        "1, signe de la KL",
        "objectives.py",
        "kl = kl_divergence(q, model.prior)",
        "kl = -kl_divergence(q, model.prior)",
        (BY_HAND,),
    ),
    Mutant(
        "1, KL dans l'autre sens",
        "objectives.py",
        "kl = kl_divergence(q, model.prior)",
        "kl = kl_divergence(model.prior, q)",
        (BY_HAND,),
    ),
    Mutant(
        "1, KL sommée sur les images",
        "objectives.py",
        "kl = kl_divergence(q, model.prior)",
        "kl = kl_divergence(q, model.prior).sum(0, keepdim=True)",
        (OBJECTIVES,),
    ),
    Mutant(
        "2, log p(x|z) multiplié par p(z)",
        "objectives.py",
        "log_px, log_px + model.prior.log_prob(z) - q.log_prob(z)",
        "log_px, log_px * model.prior.log_prob(z).exp() - q.log_prob(z)",
        (OBJECTIVES,),
    ),
    Mutant(
        "4, signe devant la KL",
        "objectives.py",
        "Terms(reconstruction - beta * kl, reconstruction, kl)",
        "Terms(reconstruction + beta * kl, reconstruction, kl)",
        (BY_HAND,),
    ),
    Mutant(
        "5, carré oublié",
        "models.py",
        "(output - x) ** 2",
        "(output - x).abs()",
        (f"{MODELS}::test_autoencoder_errors",),
    ),
    Mutant(
        "6, une seule variance pour toutes les dimensions",
        "networks.py",
        "return diagonal_gaussian(mu, torch.exp(logvar / 2))",
        "return diagonal_gaussian(mu, torch.exp(logvar.mean(-1, keepdim=True) / 2).expand_as(mu))",
        (MODELS,),
    ),
    Mutant(
        "13, σ² caché : l'écart-type demandé est ignoré",
        "likelihoods.py",
        "Normal(self.center(raw), torch.full_like(raw, self.sigma), validate",
        "Normal(self.center(raw), 1.0, validate",
        (LIKELIHOODS,),
    ),
    Mutant(
        "14, poids softmax(+perte)",
        "objectives.py",
        "torch.softmax(log_w.detach(), 0)",
        "torch.softmax(-log_w.detach(), 0)",
        (OBJECTIVES,),
    ),
    Mutant(
        "14, Σ w̃ log w donné pour la borne",
        "objectives.py",
        "log_weights(model, x, samples=samples, gradient=gradient).logsumexp(0) - math.log(samples)",
        "(lambda w: (w.softmax(0) * w).sum(0))(log_weights(model, x, samples=samples, gradient=gradient))",
        (OBJECTIVES,),
    ),
    Mutant(
        "14, q non détachée",
        "objectives.py",
        "diagonal_gaussian(factors.loc.detach(), factors.scale.detach())",
        "diagonal_gaussian(factors.loc, factors.scale)",
        (OBJECTIVES,),
    ),
    Mutant(
        "15, entropie croisée appelée densité",
        "likelihoods.py",
        "support = constraints.boolean",
        "support = constraints.unit_interval",
        (LIKELIHOODS,),
    ),
    Mutant(
        "15, constante de normalisation oubliée",
        "likelihoods.py",
        "return self.logits * value - self._log_partition()",
        "return self.logits * value - F.softplus(self.logits)",
        (LIKELIHOODS,),
    ),
    Mutant(
        "15, moyenne prise pour le paramètre λ",
        "likelihoods.py",
        "return torch.where(near, series, torch.where(eta > 0, 1 - below_half, below_half))",
        "return self.probs",
        (LIKELIHOODS,),
    ),
    Mutant(
        "16, sigmoïde puis entropie croisée",
        "likelihoods.py",
        "TorchBernoulli(logits=logits, ",
        "TorchBernoulli(probs=logits.sigmoid(), ",
        (LIKELIHOODS,),
    ),
    Mutant(
        "17, β ignoré",
        "objectives.py",
        "Terms(reconstruction - beta * kl, reconstruction, kl)",
        "Terms(reconstruction - kl, reconstruction, kl)",
        (OBJECTIVES,),
    ),
    Mutant(
        "17, variance prise pour l'écart-type (encodeur)",
        "networks.py",
        "return diagonal_gaussian(mu, torch.exp(logvar / 2))",
        "return diagonal_gaussian(mu, torch.exp(logvar))",
        (MODELS,),
    ),
    Mutant(
        "17, variance prise pour l'écart-type (décodeur)",
        "likelihoods.py",
        "Normal(self.center(raw), torch.full_like(raw, self.sigma), validate",
        "Normal(self.center(raw), self.sigma**2, validate",
        (LIKELIHOODS,),
    ),
    Mutant(
        "17, somme sur les pixels oubliée sur une dimension",
        "likelihoods.py",
        "return Independent(pixel, IMAGE_DIMS, validate_args=False)",
        "return Independent(pixel, IMAGE_DIMS - 1, validate_args=False)",
        (LIKELIHOODS,),
    ),
    Mutant(
        "18, le décodeur ne voit pas l'étiquette",
        "models.py",
        "self.model.decoder(z, self.labels)",
        "self.model.decoder(z, torch.zeros_like(self.labels))",
        (MODELS,),
    ),
    Mutant(
        "18, l'encodeur ne voit pas l'étiquette",
        "models.py",
        "context = self.labels if self.model.conditional_encoder else None",
        "context = torch.zeros_like(self.labels) if self.model.conditional_encoder else None",
        (MODELS,),
    ),
    Mutant(
        "19, moyenne des moyennes malgré un lot plus court",
        "training.py",
        "return (sizes * measured).sum(0, keepdim=True) / images",
        "return measured.mean(0, keepdim=True)",
        (TRAINING,),
    ),
    Mutant(
        "19, retour dans la boucle",
        "training.py",
        "        bar.update(len(chosen))\n    return",
        "        bar.update(len(chosen))\n        return",
        (TRAINING,),
    ),
    Mutant(
        "20, meilleur modèle choisi sur l'apprentissage",
        "training.py",
        "self.validation[:, 0].argmax()",
        "self.epochs[:, 0].argmax()",
        (f"{TRAINING}::test_early_stopping",),
    ),
    Mutant(
        "22, plancher de σ oublié",
        "likelihoods.py",
        "self.floor + F.softplus(raw_sigma)",
        "F.softplus(raw_sigma)",
        (LIKELIHOODS,),
    ),
    Mutant(
        "l'échantillon de z n'a plus de gradient",
        "objectives.py",
        "return q.rsample(shape)",
        "return q.sample(shape)",
        (OBJECTIVES,),
    ),
    Mutant(
        "4, signe devant la KL (évaluation)",
        "evaluation.py",
        "return self.reconstruction - self.kl",
        "return self.reconstruction + self.kl",
        (EVALUATION,),
    ),
    Mutant(
        "9, l'a posteriori agrégé pris pour la loi a priori",
        "evaluation.py",
        "log_joint = _mixture_log_prob(q, z)",
        "log_joint = log_prior.sum(-1)",
        (EVALUATION,),
    ),
    Mutant(
        "12, un jeu de données pris pour un autre",
        "data.py",
        "if digest == sha256:",
        "if digest:",
        (f"{DATA}::test_the_other_data_set_is_named",),
    ),
    Mutant(
        "17, montée de β non transmise à l'objectif",
        "training.py",
        "options = {} if beta is None else",
        "options = {} if True else",
        (f"{TRAINING}::test_beta_schedule_reaches_the_objective",),
    ),
    Mutant(
        "18, la loi a priori apprise ne voit pas l'étiquette",
        "models.py",
        "self.model.prior_head(self.labels)",
        "self.model.prior_head(torch.zeros_like(self.labels))",
        (MODELS,),
    ),
    Mutant(
        "19, z = μ appelé ELBO",
        "objectives.py",
        "return q.rsample(shape)",
        "return q.mean.expand(samples, *q.mean.shape)",
        (BY_HAND,),
    ),
    Mutant(
        "19, z = μ appelé ELBO (évaluation)",
        "evaluation.py",
        "return q.mean + q.stddev * noise",
        "return q.mean + 0 * noise",
        (EVALUATION,),
    ),
    Mutant(
        "20, images de validation aussi apprises",
        "training.py",
        "kept = order[len(held_out) :]",
        "kept = order[: len(order) - len(held_out)]",
        (f"{TRAINING}::test_validation_is_taken_from_the_data_and_never_trained_on",),
    ),
    Mutant(
        "22, une vraisemblance discrète appelée densité",
        "likelihoods.py",
        "return not self.support.is_discrete",
        "return True",
        (LIKELIHOODS,),
    ),
    Mutant(
        "23, point de reprise dépicklé",
        "checkpoints.py",
        "with safe_open(path",
        '__import__("pickle").load(path.open("rb"))\n        with safe_open(path',
        (f"{TRAINING}::test_unreadable_checkpoints_are_refused",),
    ),
]


# Sans faute, chaque fichier de tests passe : un fichier déjà rouge ne prouverait rien.
CONTROLS = [
    Mutant(f"témoin : {tests}", "objectives.py", "def elbo(", "def elbo(", (tests,))
    for tests in sorted({test for mutant in MUTANTS for test in mutant.tests})
]


@pytest.fixture(scope="module")
def return_codes() -> dict[str, int]:
    planted = [*MUTANTS, *CONTROLS]
    runner = Path(__file__).with_name("mutants.py")
    finished = subprocess.run(
        [sys.executable, str(runner)],
        input=json.dumps([mutant[1:] for mutant in planted]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    codes = json.loads(finished.stdout.splitlines()[-1])
    return dict(zip((mutant.mistake for mutant in planted), codes, strict=True))


@pytest.mark.parametrize("mistake", [mutant.mistake for mutant in MUTANTS])
def test_planted_mistake_turns_tests_red(return_codes, mistake):
    assert return_codes[mistake] == 1


@pytest.mark.parametrize("control", [mutant.mistake for mutant in CONTROLS])
def test_without_a_mistake_the_same_tests_pass(return_codes, control):
    assert return_codes[control] == 0
