"""L'entraînement : ce qu'il améliore, ce qu'il reproduit, ce qu'il refuse, ce qu'il ne perd pas."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import safetensors.torch
import torch

from vaebook import checkpoints, objectives, training
from vaebook.checkpoints import CheckpointError
from vaebook.data import binarise, fashion_mnist
from vaebook.likelihoods import Gaussian
from vaebook.models import VAE, Autoencoder, ConditionalVAE, LinearVAE
from vaebook.training import fit


@pytest.fixture(scope="module")
def data():
    return fashion_mnist("train", sample=True)


def model(seed: int = 0, **options) -> VAE:
    torch.manual_seed(seed)
    return VAE(4, (16,), likelihood="shared_gaussian", **options)


quick = partial(fit, epochs=2, progress=False, device="cpu")


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in module.state_dict().values()])


def test_fit_improves_the_elbo_on_real_images(data):
    vae = model()
    history = fit(vae, data, epochs=8, progress=False, device="cpu")
    assert history.value[-1] > history.value[0] + 100
    torch.testing.assert_close(history.value, history.reconstruction - history.kl)
    test = fashion_mnist("test", sample=True).images
    with torch.no_grad():
        assert objectives.elbo(vae, test).value.mean() > objectives.elbo(model(), test).value.mean() + 100


def test_history_has_one_entry_per_epoch_and_per_step(data):
    history = quick(model(), data, batch_size=300)
    steps = -(-len(data) // 300)
    assert len(history) == 2
    assert history.steps.kl.shape == (2 * steps,)
    assert history.validation is None
    assert not history.interrupted


def test_short_last_batch_counts_for_what_it_is(data):
    images = data.images[:250]
    history = quick(model(), images, epochs=1, batch_size=100)
    expected = (100 * history.steps.kl[0] + 100 * history.steps.kl[1] + 50 * history.steps.kl[2]) / 250
    assert history.kl[0].item() == pytest.approx(expected.item(), rel=1e-12)


def test_same_seed_same_weights_bit_for_bit(data):
    first, second, other = model(), model(), model()
    assert torch.equal(quick(first, data, seed=3).steps.value, quick(second, data, seed=3).steps.value)
    quick(other, data, seed=4)
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


def test_fit_leaves_the_callers_generator_alone(data):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    vae = VAE(2, (4,))
    torch.manual_seed(11)
    quick(vae, data)
    assert torch.equal(torch.rand(3), expected)


def test_every_image_is_seen_once_an_epoch(data):
    seen = []

    def spy(vae, x):
        seen.append(x)
        return objectives.elbo(vae, x)

    images = data.images[:200]
    quick(model(), images, batch_size=64, objective=spy)
    first, second = torch.cat(seen[:4]), torch.cat(seen[4:])
    order = first.flatten(1).sum(1).argsort()
    assert torch.equal(first[order], images[images.flatten(1).sum(1).argsort()])
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("build", "objective"),
    [
        (lambda: VAE(3, (8,), channels=(2, 4)), objectives.elbo),
        (lambda: LinearVAE(3), objectives.elbo),
        (lambda: ConditionalVAE(3, (8,), learned_prior=True), objectives.elbo),
        (lambda: Autoencoder(3, (8,)), objectives.reconstruction),
        (
            lambda: Autoencoder(3, (8,), loss="cross_entropy"),
            partial(objectives.denoising, noise=objectives.masking_noise(0.3)),
        ),
        (lambda: VAE(3, (8,)), partial(objectives.importance_weighted, samples=3, gradient="dreg")),
        (lambda: VAE(3, (8,)), partial(objectives.free_bits, threshold=0.2)),
        (lambda: VAE(3, (8,)), partial(objectives.capacity, target=5.0, beta=2.0)),
    ],
)
def test_one_loop_for_every_model(data, build, objective):
    torch.manual_seed(0)
    history = fit(build(), data, epochs=3, objective=objective, progress=False, device="cpu", lr=3e-3)
    assert history.value[-1] > history.value[0]


def test_beta_schedule_reaches_the_objective(data):
    asked = []

    def schedule(step: int) -> float:
        asked.append(step)
        return 0.5

    constant, scheduled = model(), model()
    history = quick(constant, data, beta=0.5)
    quick(scheduled, data, beta=schedule)
    assert torch.equal(weights(constant), weights(scheduled))
    assert asked == list(range(len(history.steps.value)))
    torch.testing.assert_close(history.value, history.reconstruction - 0.5 * history.kl)


def test_schedules():
    warmup = training.linear_warmup(10, end=2.0)
    assert [warmup(s) for s in (0, 5, 10, 99)] == [0.0, 1.0, 2.0, 2.0]
    cycle = training.cyclical(10, rise=0.5)
    assert [cycle(s) for s in (0, 1, 5, 9, 10, 12)] == [0.0, 0.2, 1.0, 1.0, 0.0, 0.4]
    for build in (lambda: training.linear_warmup(0), lambda: training.cyclical(5, rise=0)):
        with pytest.raises(ValueError, match="="):
            build()


# La validation et ce qu'on garde.


def test_validation_is_taken_from_the_data_and_never_trained_on(data):
    learnt, measured = [], []

    def spy(vae, x):
        (learnt if torch.is_grad_enabled() else measured).append(x)
        return objectives.elbo(vae, x)

    history = quick(model(), data, epochs=1, objective=spy, validation=0.2)

    def rows(parts):
        return {image.numpy().tobytes() for image in torch.cat(parts)}

    everything = rows([data.images])
    assert not rows(learnt) & rows(measured)
    assert rows(learnt) | rows(measured) == everything
    assert sum(map(len, measured)) == round(0.2 * len(data))
    assert history.validation.value.shape == (1,)


def test_validation_always_uses_the_same_draws(data):
    history = quick(model(), data, epochs=3, validation=0.2, lr=1e-30)
    assert len(set(history.validation.value.tolist())) == 1


OVERFITTING = {"batch_size": 20, "validation": 0.5, "lr": 1e-2, "progress": False, "device": "cpu"}


def memoriser() -> VAE:
    """Un modèle qui surapprend vite sur peu d'images."""
    torch.manual_seed(0)
    return VAE(4, (64,), likelihood=Gaussian(0.05))


def test_best_checkpoint_is_that_of_the_best_validation(data, tmp_path):
    images = data.images[:80]
    last = memoriser()
    history = fit(last, images, epochs=40, checkpoint=tmp_path, **OVERFITTING)
    best = int(history.validation.value.argmax())
    assert best < 38
    again = memoriser()
    fit(again, images, epochs=best + 1, **OVERFITTING)
    assert torch.equal(weights(checkpoints.load_model(tmp_path / checkpoints.BEST)), weights(again))
    assert torch.equal(weights(checkpoints.load_model(tmp_path / checkpoints.LAST)), weights(last))


def test_early_stopping(data):
    history = fit(memoriser(), data.images[:80], epochs=100, patience=2, **OVERFITTING)
    best = int(history.validation.value.argmax())
    assert len(history) == best + 3 < 100


def test_interruption_returns_the_history_so_far(data, capsys):
    calls = 0

    def stop_in_the_third_epoch(vae, x):
        nonlocal calls
        calls += 1
        if calls > 2 * 8 + 3:
            raise KeyboardInterrupt
        return objectives.elbo(vae, x)

    images = data.images[:1000]
    history = quick(model(), images, epochs=5, batch_size=125, objective=stop_in_the_third_epoch)
    assert len(history) == 2
    assert history.interrupted
    assert "2 époques achevées sur 5" in capsys.readouterr().out


# Reprendre : mêmes poids, au bit près, d'où que vienne la mort.

# Un seul import de torch pour toutes les morts : chaque entraînement est un processus dérivé de celui-ci.
SCRIPT = """
import json, os, signal, sys
import torch
from vaebook import checkpoints, objectives
from vaebook.data import fashion_mnist
from vaebook.models import VAE
from vaebook.training import fit, linear_warmup

torch.set_num_threads(1)
torch.optim.Adam([torch.zeros(1)])  # charge ce que torch ne charge qu'au premier optimiseur

def train(folder, where, count):
    calls = 0

    def die_at(name, original):
        def wrapped(*args, **kwargs):
            nonlocal calls
            if where == name:
                calls += 1
                if calls == count:
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)
        return wrapped

    checkpoints.os.fsync = die_at("écriture", os.fsync)
    checkpoints.save = die_at("sauvegarde", checkpoints.save)
    torch.manual_seed(0)
    vae = VAE(3, (8,), likelihood="shared_gaussian")
    images = fashion_mnist("train", sample=True).images[:600]
    fit(vae, images, epochs=4, batch_size=100, validation=0.2, objective=die_at("pas", objectives.elbo),
        beta=linear_warmup(8), checkpoint=folder, resume=True, progress=False, device="cpu")
    checkpoints.save(folder + "/final.safetensors", vae)

for job in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        try:
            train(*job)
            os._exit(0)
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_killed_anywhere_and_resumed_it_ends_with_the_same_weights(tmp_path):
    whole = tmp_path / "d'une traite"
    deaths = (("pas", 3), ("pas", 14), ("écriture", 3), ("sauvegarde", 4))
    folders = [tmp_path / f"{where}-{count}" for where, count in deaths]
    jobs = [(str(whole), "nulle part", 0)]
    for folder, death in zip(folders, deaths, strict=True):
        jobs += [(str(folder), *death), (str(folder), "nulle part", 0)]
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, timeout=300)
    assert [int(code) for code in done.stdout.split()] == [0, *[-signal.SIGKILL, 0] * 4], done.stderr
    for folder in folders:
        for name in ("final.safetensors", checkpoints.BEST):
            resumed = weights(checkpoints.load_model(folder / name))
            assert torch.equal(resumed, weights(checkpoints.load_model(whole / name))), (folder.name, name)


def test_resume_can_go_further_and_refuses_another_run(data, tmp_path):
    vae, whole = model(), model()
    quick(vae, data, checkpoint=tmp_path)
    resumed = model(seed=9)
    history = quick(resumed, data, epochs=3, checkpoint=tmp_path, resume=True)
    reference = quick(whole, data, epochs=3)
    assert torch.equal(weights(resumed), weights(whole))
    assert torch.equal(history.steps.value, reference.steps.value)
    with pytest.raises(CheckpointError, match="diffère : seed"):
        quick(model(), data, seed=1, checkpoint=tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="un autre modèle"):
        quick(VAE(5, (16,)), data, checkpoint=tmp_path, resume=True)


# Les points de reprise.


@pytest.mark.parametrize(
    "build",
    [
        lambda: VAE(3, (8,), (1, 8, 8), "pixel_gaussian", channels=(2,)),
        lambda: LinearVAE(3, (1, 8, 8), Gaussian(0.2, link="identity")),
        lambda: ConditionalVAE(3, (8,), (1, 8, 8), classes=4, conditional_encoder=False, learned_prior=True),
        lambda: Autoencoder(3, (8,), (1, 8, 8), "absolute"),
    ],
)
def test_saved_models_come_back_whole(build, tmp_path):
    saved = build()
    checkpoints.save(tmp_path / "m.safetensors", saved)
    loaded = checkpoints.load_model(tmp_path / "m.safetensors")
    assert type(loaded) is type(saved)
    assert loaded.config == saved.config
    assert torch.equal(weights(loaded), weights(saved))
    assert not loaded.training


def test_loaded_model_draws_the_same_images(data, tmp_path):
    """Identité 21 : enregistrer, relire, même graine : égal au bit près."""
    vae = model()
    quick(vae, data)
    checkpoints.save(tmp_path / "m.safetensors", vae)
    loaded = checkpoints.load_model(tmp_path / "m.safetensors")
    torch.manual_seed(5)
    here = vae.sample(4)
    torch.manual_seed(5)
    assert torch.equal(here, loaded.sample(4))


def test_dynamic_binarisation_resumes_bit_for_bit(data, tmp_path):
    def binarised(vae, x):
        return objectives.elbo(vae, binarise(x))

    def bernoulli() -> VAE:
        torch.manual_seed(0)
        return VAE(4, (16,))

    images = data.images[:300]
    stopped, whole, resumed = bernoulli(), bernoulli(), bernoulli()
    quick(stopped, images, epochs=2, objective=binarised, checkpoint=tmp_path)
    quick(whole, images, epochs=4, objective=binarised)
    quick(resumed, images, epochs=4, objective=binarised, checkpoint=tmp_path, resume=True)
    assert torch.equal(weights(resumed), weights(whole))


def test_an_occupied_folder_is_not_overwritten(data, tmp_path):
    quick(model(), data.images[:200], checkpoint=tmp_path)
    before = (tmp_path / checkpoints.LAST).read_bytes()
    with pytest.raises(CheckpointError, match="resume=True"):
        quick(model(), data.images[:200], checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="déjà 2 époques"):
        quick(model(), data.images[:200], epochs=1, checkpoint=tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="beta"):
        quick(model(), data.images[:200], beta=2.0, checkpoint=tmp_path, resume=True)
    objective = partial(objectives.elbo, samples=2)
    with pytest.raises(CheckpointError, match="objective"):
        quick(model(), data.images[:200], objective=objective, checkpoint=tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="data"):
        quick(model(), data.images[1:201], checkpoint=tmp_path, resume=True)
    assert (tmp_path / checkpoints.LAST).read_bytes() == before


def checkpoint_with(path, header, tensors=None):
    tensors = tensors or {"a": torch.zeros(1)}
    path.write_bytes(safetensors.torch.save(tensors, metadata={"vaebook": json.dumps(header)}))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "pas été écrit par vaebook"),
        ({"format": "1"}, "pas été écrit par vaebook"),
        ({"format": 1}, "incomplet"),
        ({"format": 0, "model": {}, "state": {}}, "Refaites"),
        ({"format": 1, "state": {}, "model": {"class": "VAE", "config": {"ailes": 2}}}, "impossible"),
        ({"format": 1, "state": {}, "model": {"class": "VAE", "config": {"latent_dim": 2}}}, "poids"),
    ],
)
def test_foreign_headers_are_refused(tmp_path, header, message):
    checkpoint_with(tmp_path / "m.safetensors", header)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load_model(tmp_path / "m.safetensors")


def test_unreadable_checkpoints_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    with pytest.raises(FileNotFoundError, match="Pas de point de reprise"):
        checkpoints.load_model(path)
    checkpoints.save(path, model())
    whole = path.read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "tronqué"),
        (b"", "tronqué"),
        (b"\x80\x04pickle", "tronqué"),
        (safetensors.torch.save({"a": torch.zeros(1)}), "pas été écrit par vaebook"),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            checkpoints.load_model(path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "FORMAT", 99)
        checkpoints.save(path, model())
    with pytest.raises(CheckpointError, match="Mettez vaebook à jour"):
        checkpoints.load_model(path)

    stranger = torch.nn.Linear(1, 1)
    stranger.config = {}
    checkpoints.save(path, stranger)
    with pytest.raises(CheckpointError, match="modèle inconnu"):
        checkpoints.load_model(path)


@pytest.mark.parametrize(("error", "text"), [(28, "No space"), (30, "Read-only"), (13, "Permission")])
def test_a_failed_write_leaves_the_previous_checkpoint_whole(tmp_path, monkeypatch, error, text):
    path = tmp_path / "m.safetensors"
    before = model()
    checkpoints.save(path, before)

    def fail(_descriptor):
        raise OSError(error, text)

    monkeypatch.setattr(checkpoints.os, "fsync", fail)
    with pytest.raises(OSError, match="Impossible d'écrire"):
        checkpoints.save(path, model(seed=1))
    assert torch.equal(weights(checkpoints.load_model(path)), weights(before))
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


# Ce qui est refusé.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "au moins une époque"),
        ({"epochs": 1.5}, "un entier"),
        ({"seed": 2**44}, "seed"),
        ({"batch_size": 0}, "au moins une image"),
        ({"batch_size": 10**6}, "Réduisez batch_size"),
        ({"batch_size": 900, "validation": 0.5}, "Réduisez batch_size"),
        ({"lr": 0.0}, "pas d'apprentissage"),
        ({"lr": float("nan")}, "pas d'apprentissage"),
        ({"device": "tpu"}, "Appareil « tpu »"),
        ({"device": "cuda:97"}, "Appareil « cuda:97 »"),
        ({"validation": 1.0}, "validation=1"),
        ({"validation": 1e-9}, "au moins une image"),
        ({"patience": 1}, "patience"),
        ({"resume": True}, "checkpoint"),
    ],
)
def test_impossible_settings_are_refused_in_french(data, options, message):
    before = model()
    reference = weights(before).clone()
    with pytest.raises(ValueError, match=message):
        fit(before, data, **({"epochs": 1, "progress": False, "device": "cpu"} | options))
    assert torch.equal(weights(before), reference)


def test_impossible_data_are_refused_in_french(data):
    images = data.images[:64]
    broken = images.clone()
    broken[5, 0, 3, 3] = float("nan")
    for bad, message in (
        ((images * 255).to(torch.uint8), "divisez par 255"),
        (images * 255, "Divisez par 255"),
        (images - 0.1, r"dans \[0, 1\]"),
        (broken, "L'image 5 contient une valeur non finie"),
        (images.flatten(1), r"il faut \(N, 1, 28, 28\)"),
        (images[:0], "N ≥ 1"),
    ):
        with pytest.raises(ValueError, match=message):
            quick(model(), bad)
    with pytest.raises(ValueError, match="avec des étiquettes"):
        quick(ConditionalVAE(3, (8,)), images)


def test_a_lost_objective_says_where(data):
    calls = 0

    def explode(vae, x):
        nonlocal calls
        calls += 1
        terms = objectives.elbo(vae, x)
        return terms if calls != 8 + 3 else terms._replace(value=terms.value * float("nan"))

    with pytest.raises(FloatingPointError, match="époque 2, pas 3"):
        quick(model(), data.images[:1000], batch_size=125, objective=explode)


def test_lost_weights_and_lost_validation_are_seen(data):
    with pytest.raises(FloatingPointError, match="époque 1, pas 2"):
        quick(model(), data.images[:40], epochs=1, batch_size=40, lr=1e38)

    def lost_in_validation(vae, x):
        terms = objectives.elbo(vae, x)
        return terms if torch.is_grad_enabled() else terms._replace(value=terms.value * float("nan"))

    with pytest.raises(FloatingPointError, match="En validation, à l'époque 1"):
        quick(model(), data.images[:100], objective=lost_in_validation, validation=0.5, batch_size=50)


def test_images_follow_the_type_of_the_weights(data):
    history = quick(model(), data.images[:200].double(), epochs=1)
    assert torch.equal(history.steps.value, quick(model(), data.images[:200], epochs=1).steps.value)


def test_labels_are_checked_before_training(data):
    labelled = data[:64]
    for labels, message in ((labelled.labels[:10], "une par image"), (labelled.labels + 5, "de 0 à 9")):
        with pytest.raises(ValueError, match=message):
            quick(ConditionalVAE(3, (8,)), replace(labelled, labels=labels))


def test_linear_autoencoder_finds_the_principal_subspace():
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([0.12, 0.1, 0.08] + [0.01] * 13)
    x = (0.5 + torch.randn(500, 16, generator=generator) * scales).clamp(0, 1)
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=generator))[0]
    images = ((x - 0.5) @ rotation + 0.5).clamp(0, 1).view(-1, 1, 4, 4)
    torch.manual_seed(0)
    linear = Autoencoder(3, (), (1, 4, 4))
    for lr in (3e-2, 1e-2, 1e-3):
        quick(linear, images, epochs=120, batch_size=50, lr=lr, objective=objectives.reconstruction)
    learnt = torch.linalg.qr(linear.decoder.layers[-1].weight.detach())[0]
    centred = images.flatten(1) - images.flatten(1).mean(0)
    principal = torch.linalg.svd(centred, full_matrices=False).Vh[:3].T
    cosines = torch.linalg.svdvals(learnt.T @ principal)
    assert cosines.min() > 0.99


def test_auto_device_is_a_gpu_if_there_is_one():
    assert training.pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert training.pick_device(torch.device("cpu")) == torch.device("cpu")
