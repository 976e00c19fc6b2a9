"""L'entraînement à plusieurs, modèles ou processus, et le pas enregistré : les mêmes résultats que seul."""

import json
import os
import socket
import subprocess
import sys
from functools import partial

import pytest
import torch

from vaebook import _graphs, objectives, training
from vaebook.data import binarise, fashion_mnist
from vaebook.models import VAE, Autoencoder, ConditionalVAE, LinearVAE
from vaebook.training import fit, fit_many, linear_warmup


@pytest.fixture(scope="module")
def data():
    return fashion_mnist("train", sample=True)


def model(seed: int = 0, latent_dim: int = 3) -> VAE:
    torch.manual_seed(seed)
    return VAE(latent_dim, (8,), likelihood="shared_gaussian").double()


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in module.parameters()])


here = {"epochs": 2, "progress": False, "device": "cpu"}


# Plusieurs modèles à la fois.


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (model, {"betas": (0.1, 1.0, 4.0)}),
        (model, {"betas": (1.0, linear_warmup(6), 2.0), "seeds": (3, 3, 5)}),
        (model, {"objective": partial(objectives.importance_weighted, samples=3)}),
        (model, {"objective": partial(objectives.free_bits, threshold=0.2), "batch_size": 70}),
        (lambda seed: LinearVAE(3).double(), {"seeds": (1, 2, 3)}),
        (lambda seed: VAE(2, (6,), channels=(2, 4)).double(), {"seeds": (1, 2, 3)}),
        (lambda seed: Autoencoder(2, (6,)).double(), {"objective": objectives.reconstruction}),
    ],
)
def test_together_or_one_after_the_other_the_results_are_those_of_fit(data, build, options):
    images = data.images[:300]  # le dernier lot est plus court
    ways = []
    for train in ("ensemble", "l'un après l'autre", "fit"):
        models = []
        for seed in range(3):
            torch.manual_seed(seed)
            models.append(build(seed))
        if train == "fit":
            options = dict(options)
            betas, seeds = options.pop("betas", [None] * 3), options.pop("seeds", [0] * 3)
            histories = [
                fit(one, images, beta=beta, seed=seed, **here, **options)
                for one, beta, seed in zip(models, betas, seeds, strict=True)
            ]
        else:
            histories = fit_many(models, images, together=train == "ensemble", **here, **options)
        ways.append((models, histories))
    (together, stacked), (_, sequential), (alone, expected) = ways
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(weights(one), weights(other), rtol=1e-8, atol=1e-9)
        assert not one.training
    for history, exactly, reference in zip(stacked, sequential, expected, strict=True):
        assert len(history) == len(reference) == 2
        for term, same, wanted in zip(history.steps, exactly.steps, reference.steps, strict=True):
            torch.testing.assert_close(term, wanted, rtol=1e-9, atol=1e-9)
            assert torch.equal(same, wanted)
        torch.testing.assert_close(history.kl, reference.kl, rtol=1e-9, atol=1e-9)


# Son gradient passe par un crochet, que `vmap` n'exécute pas : sans vérification, il serait faux en silence.
DREG = partial(objectives.importance_weighted, samples=3, gradient="dreg")


def never_stacked(*_):
    raise AssertionError("ces modèles ne peuvent pas être empilés")


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (lambda k: ConditionalVAE(2, (6,)), {}),
        (lambda k: VAE(2 + k, (6,)), {}),
        (lambda k: VAE(2, (6,)), {"objective": DREG}),
        (lambda k: VAE(2, (6,)), {"objective": lambda vae, x: objectives.elbo(vae, binarise(x))}),
    ],
)
def test_what_cannot_be_stacked_is_trained_alone_and_said(data, monkeypatch, capsys, build, options):
    monkeypatch.setattr(training, "_fit_stack", never_stacked)
    trained = [build(0), build(1)]
    before = [weights(one).clone() for one in trained]
    histories = fit_many(trained, data[:200], together=True, **here | {"epochs": 1}, **options)
    assert "l'un après l'autre" in capsys.readouterr().out
    assert [len(history) for history in histories] == [1, 1]
    assert all(not torch.equal(weights(one), old) for one, old in zip(trained, before, strict=True))


def test_on_a_cpu_models_are_trained_one_after_the_other_by_default(data, monkeypatch):
    monkeypatch.setattr(training, "_fit_stack", never_stacked)
    assert len(fit_many([model(0), model(1)], data.images[:100], **here | {"batch_size": 50})) == 2


@pytest.mark.parametrize(
    ("count", "options"), [(0, {}), (2, {"betas": (1.0,)}), (2, {"seeds": (1, 2, 3)}), (1, {"betas": ()})]
)
def test_as_many_betas_and_seeds_as_models(data, count, options):
    with pytest.raises(ValueError, match="il en faut autant"):
        fit_many([model(k) for k in range(count)], data.images[:50], **here, **options)


def test_a_lost_model_is_seen_among_the_others(data):
    with pytest.raises(FloatingPointError, match="époque 1"):
        fit_many([model(0), model(1)], data.images[:200], betas=(1.0, float("nan")), together=True, **here)


# Le pas enregistré : sans GPU, l'enregistrement est remplacé par une imitation, qui rejoue la fonction.


def imitation(run):
    """Comme un graphe : rien n'est exécuté à l'enregistrement, tout l'est, aux mêmes adresses, au rejeu."""
    output, calls = torch.full((3,), float("nan"), dtype=torch.float64), []

    def replay():
        calls.append(None)
        output.copy_(run())

    imitation.calls = calls
    return replay, output


@pytest.mark.parametrize("beta", [None, 0.5, linear_warmup(9)])
def test_a_replayed_step_gives_the_history_of_the_ordinary_one(data, monkeypatch, beta):
    monkeypatch.setattr(_graphs, "capture", imitation)
    images = data.images[:330]
    ordinary, replayed = model(), model()
    options = {"epochs": 3, "batch_size": 50, "beta": beta, "progress": False, "device": "cpu"}
    expected = fit(ordinary, images, **options)
    history = fit(replayed, images, graph=True, **options)
    assert len(imitation.calls) == 6 * 3 - 3  # tous, sauf les trois premiers et les derniers lots, courts
    torch.testing.assert_close(history.steps.value, expected.steps.value, rtol=1e-12, atol=0)
    torch.testing.assert_close(weights(replayed), weights(ordinary), rtol=1e-10, atol=1e-12)


def test_without_a_gpu_the_step_is_not_recorded_and_it_says_so(data, capsys):
    ordinary, other = model(), model()
    expected = fit(ordinary, data.images[:330], batch_size=50, **here)
    assert not capsys.readouterr().out
    history = fit(other, data.images[:330], batch_size=50, graph=True, **here)
    assert capsys.readouterr().out.count("graphe CUDA") == 1
    assert torch.equal(history.steps.value, expected.steps.value)
    assert torch.equal(weights(other), weights(ordinary))


def test_only_objectives_without_python_state_are_recorded():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert training._captures(objectives.elbo, gpu)
    assert training._captures(partial(objectives.free_bits, threshold=0.1), gpu)
    assert not training._captures(objectives.elbo, cpu)
    assert not training._captures(lambda vae, x: objectives.elbo(vae, x), gpu)
    assert not training._captures(partial(objectives.denoising, noise=lambda x: x), gpu)


# Plusieurs processus.

SCRIPT = """
import json, os, sys
import torch
from vaebook import objectives
from vaebook.data import fashion_mnist
from vaebook.models import VAE
from vaebook.objectives import Terms
from vaebook.training import fit, linear_warmup

torch.set_num_threads(1)
folder, size = sys.argv[1:]
rank = os.environ.get("RANK", "0")
projection = torch.randn(784, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

def elbo(vae, x, beta=1.0):
    # Le bruit d'une image ne dépend que d'elle : les mêmes tirages, qui que ce soit qui la reçoive.
    q = vae.posterior(x)
    z = q.mean + q.stddev * torch.sin(99 * x.flatten(1) @ projection)
    reconstruction = vae.likelihood(z).log_prob(x)
    kl = torch.distributions.kl_divergence(q, vae.prior)
    return Terms(reconstruction - beta * kl, reconstruction, kl)

results = []
for number, (count, objective) in enumerate(((151, elbo), (213, elbo), (200, objectives.elbo))):
    torch.manual_seed(int(rank))  # les poids du premier processus sont ceux de tous
    vae = VAE(3, (8,), likelihood="shared_gaussian").double()
    images = fashion_mnist("train", sample=True).images[:count]
    history = fit(vae, images, epochs=3, batch_size=50, objective=objective, validation=0.1, lr=2e-3,
                  beta=linear_warmup(5), checkpoint=f"{folder}/{number}", device="cpu", progress=False)
    weights = torch.cat([value.detach().flatten() for value in vae.parameters()])
    results.append([history.steps.value.tolist(), history.validation.value.tolist(), weights.tolist()])
with open(f"{folder}/{rank}-{size}.json", "w") as file:
    json.dump(results, file)
"""


def test_two_processes_learn_what_one_learns(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    both = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    results = {}
    for size, launcher in ((1, []), (2, [*both, f"--master-port={port}"])):
        folder = tmp_path / str(size)
        folder.mkdir()
        command = [sys.executable, *launcher, str(script), str(folder), str(size)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == 0, done.stderr
        for rank in range(size):
            results[size, rank] = json.loads((folder / f"{rank}-{size}.json").read_text(encoding="utf-8"))
    alone, first, second = results[1, 0], results[2, 0], results[2, 1]
    assert first == second
    for rank in range(2):  # 151 et 213 images : des derniers lots d'une image, et de parts inégales
        for got, wanted in zip(first[rank], alone[rank], strict=True):
            torch.testing.assert_close(torch.tensor(got), torch.tensor(wanted), rtol=1e-7, atol=1e-8)
    # Tirages différents : la même ELBO, au bruit près.
    (got, _, _), (wanted, _, _) = first[2], alone[2]
    assert got != wanted
    assert sum(got) == pytest.approx(sum(wanted), rel=0.03)
