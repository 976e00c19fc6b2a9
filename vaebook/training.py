"""Une boucle d'entraînement pour tous les modèles : `fit`, et `fit_many` pour plusieurs à la fois.

Les images restent en mémoire sur l'appareil, chaque époque les parcourt dans un ordre tiré au hasard, et rien
n'y attend l'appareil. Le hasard d'une époque ne dépend que de la graine et de son numéro : reprendre un
entraînement interrompu redonne les mêmes nombres.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vaebook import checkpoints, objectives, quick
from vaebook._graphs import CapturedStep
from vaebook._parallel import team
from vaebook._stacked import Stack
from vaebook.models import ConditionalVAE
from vaebook.objectives import Terms, elbo

# Le poids β de la KL en fonction du pas.
Schedule = Callable[[int], float]


class Labelled(Protocol):
    """Des images et leurs étiquettes, comme `vaebook.data.Images`."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class History:
    """Ce qu'un entraînement a mesuré, en nats par image.

    Attributs :
        epochs : `Terms` de vecteurs (époques,), moyennes sur l'ensemble d'apprentissage pendant l'époque.
        steps : `Terms` de vecteurs (pas,), moyennes sur chaque lot.
        validation : `Terms` de vecteurs (époques,), ou rien si aucune image n'a été mise de côté.
        interrupted : vrai si Ctrl-C a arrêté l'entraînement.
    """

    epochs: Terms
    steps: Terms
    validation: Terms | None = None
    interrupted: bool = False

    @property
    def value(self) -> Tensor:
        """L'objectif moyen par époque, (époques,)."""
        return self.epochs.value

    @property
    def reconstruction(self) -> Tensor:
        """Le terme de reconstruction moyen par époque, (époques,)."""
        return self.epochs.reconstruction

    @property
    def kl(self) -> Tensor:
        """La KL moyenne par époque, vecteur (époques,), en nats."""
        return self.epochs.kl

    def __len__(self) -> int:
        return len(self.epochs.value)


def fit(
    model: nn.Module,
    data: Labelled | Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    objective: Callable[..., Terms] = elbo,
    beta: float | Schedule | None = None,
    validation: float = 0.0,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    graph: bool | None = None,
) -> History:
    """Entraîne un modèle par Adam, en montant un objectif.

    Lancé par ``torchrun``, l'entraînement est partagé : chaque processus fait sa part de chaque lot, les
    gradients sont moyennés, et tous renvoient le même historique. L'ordre des images est celui d'un seul
    processus, mais chacun a ses propres tirages de z.

    Paramètres :
        model : un modèle de ``vaebook.models`` ; il est déplacé sur l'appareil et modifié.
        data : des images (N, C, H, W) dans [0, 1], avec leurs étiquettes si le modèle est conditionnel.
        epochs : nombre de passages sur les données.
        batch_size : taille des lots ; le dernier, plus court, compte pour ce qu'il est.
        lr : pas d'apprentissage.
        device : « auto » (un GPU s'il y en a un), « cpu », « cuda »…
        seed : graine de l'ordre des images, des tirages de z et de la mise de côté.
        progress : montre une barre d'avancement.
        objective : ``objective(model, x)`` -> `Terms`.
        beta : poids de la KL, constant ou fonction du pas ; passé à l'objectif s'il est donné. La validation
            mesure l'objectif sans lui : ses époques restent comparables.
        validation : part des images mises de côté pour la validation, jamais vues par l'optimiseur.
        patience : arrête après ce nombre d'époques sans progrès en validation.
        checkpoint : dossier où garder « last.safetensors » et, s'il y a validation, « best.safetensors ».
        resume : repart de « last.safetensors » s'il existe.
        graph : enregistre le pas dans un graphe CUDA. Par défaut, sur un GPU, si l'objectif est de
            ``vaebook.objectives`` ; un autre ne doit rien faire en Python qui change d'un pas à l'autre.

    Renvoie :
        `History`. Si Ctrl-C interrompt, l'historique des époques achevées.

    Lève :
        ValueError : un argument impossible, des images hors de [0, 1], de mauvaise forme ou non finies.
        FloatingPointError : l'objectif n'est plus un nombre fini ; le message dit l'époque et le pas.
        CheckpointError : un point de reprise illisible, étranger ou d'un autre entraînement.
        OSError : le dossier des points de reprise ne peut pas être écrit.

    Source :
        Kingma et Welling (2014), algorithme 1 ; Adam de Kingma et Ba (2015).
    """
    images, labels = _check_data(model, data)
    _check_settings(epochs, batch_size, len(images), lr, seed, validation, patience, checkpoint, resume)
    epochs = _wanted(epochs)
    crew = team()
    place = crew.place(pick_device(device))
    model.to(place)
    with _own_randomness(place):
        torch.manual_seed(seed)
        order = torch.randperm(len(images))
    held_out = order[: round(validation * len(images))].to(place)
    kept = order[len(held_out) :].sort().values.to(place)
    _check_batch(batch_size, len(kept))

    optimizer = _adam(model.parameters(), lr, place)
    run = _Progress()
    folder = None if checkpoint is None else Path(checkpoint)
    settings: dict[str, Any] = {}
    if folder is not None:
        settings = {"batch_size": batch_size, "lr": lr, "seed": seed, "validation": validation}
        settings |= {"objective": _name(objective), "beta": _name(beta), "data": _fingerprint(images, labels)}
        run = _start_or_resume(folder, resume, epochs, model, optimizer, settings)

    images, labels = images.to(place), None if labels is None else labels.to(place)

    def terms(chosen: Tensor, **options: Any) -> Terms:
        target: Any = model
        if labels is not None:
            target = target.given(labels.index_select(0, chosen))
        return objective(target, images.index_select(0, chosen), **options)

    step: Callable[..., Tensor] = partial(_one_step, optimizer, crew.share(model, terms))
    if crew.size == 1 and (_captures(objective, place) if graph is None else graph):
        step = CapturedStep(step)

    interrupted = False
    # Sinon, TQDM_DISABLE décide.
    quiet: dict[str, Any] = {} if progress and crew.rank == 0 else {"disable": True}
    bar = tqdm(
        total=epochs * len(kept),
        initial=len(run.epochs) * len(kept),
        unit=" images",
        unit_scale=True,
        **quiet,
    )
    try:
        with bar, _own_randomness(place):
            for epoch in range(len(run.epochs), epochs):
                if run.exhausted(patience):
                    break
                # L'époque a son propre hasard : rien à sauver pour la rejouer à l'identique.
                torch.manual_seed(_epoch_seed(seed, epoch))
                order = kept[torch.randperm(len(kept), device=place)]
                crew.separate(_epoch_seed(seed, epoch))
                model.train()
                measured = _one_epoch(step, order, batch_size, beta, len(run.steps), bar)
                measured = crew.mean(measured, place)
                _check_finite(measured, model.parameters(), epoch)
                run.steps = torch.cat([run.steps, measured])
                run.epochs = torch.cat([run.epochs, _weighted_mean(measured, len(kept), batch_size)])
                if len(held_out):
                    run.validation = torch.cat([run.validation, _validate(model, terms, held_out, epoch)])
                bar.set_postfix_str(_summary(run.epochs[-1]))
                if folder is not None and crew.rank == 0:
                    _save(folder, model, optimizer, run, settings)
    except KeyboardInterrupt:
        interrupted = True
        tqdm.write(f"Entraînement interrompu ; {len(run.epochs)} époques achevées sur {epochs}.")
    model.eval()
    return run.history(interrupted, validated=len(held_out) > 0)


def fit_many(
    models: Sequence[nn.Module],
    data: Labelled | Tensor,
    *,
    epochs: int,
    betas: Sequence[float | Schedule] | None = None,
    seeds: Sequence[int] | None = None,
    batch_size: int = 128,
    lr: float = 1e-3,
    device: str | torch.device = "auto",
    progress: bool = True,
    objective: Callable[..., Terms] = elbo,
    together: bool | None = None,
) -> list[History]:
    """Entraîne plusieurs modèles, comme autant d'appels à `fit` : mêmes ordres, mêmes tirages.

    Ensemble, leurs poids sont empilés et chaque opération sert tous les modèles. Un GPU, qu'un petit modèle
    n'occupe pas, y gagne ; un processeur, déjà occupé, n'y gagne rien.

    Paramètres :
        models : K modèles, de même architecture pour être entraînés ensemble.
        betas : le β de chacun, constant ou fonction du pas ; aucun par défaut.
        seeds : la graine de chacun ; 0 par défaut.
        together : ensemble, ou l'un après l'autre. Par défaut, ensemble sur un GPU seulement. Si c'est
            impossible (étiquettes, autre hasard que les tirages de q(z|x), gradient modifié au passage,
            architectures différentes), ils sont entraînés l'un après l'autre, et un message le dit.
        data, epochs, batch_size, lr, device, progress, objective : ceux de `fit`.

    Renvoie :
        un `History` par modèle. Si Ctrl-C interrompt, celui des époques achevées, vide pour les modèles qui
        n'ont pas commencé.

    Lève :
        ValueError : comme `fit`, ou s'il n'y a pas autant de β ou de graines que de modèles.
        FloatingPointError : un objectif n'est plus un nombre fini.

    Source :
        L'empilement des poids est celui de ``torch.func.stack_module_state``.
    """
    count = len(models)
    seeds = [0] * count if seeds is None else seeds
    if not count or len(seeds) != count or (betas is not None and len(betas) != count):
        raise ValueError(
            f"{count} modèles, {len(seeds)} graines, {'pas de' if betas is None else len(betas)} β : "
            "il en faut autant que de modèles, et au moins un modèle."
        )
    common: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "progress": progress}
    place = pick_device(device)
    if place.type == "cuda" if together is None else together:
        for model, seed in zip(models, seeds, strict=True):
            images, labels = _check_data(model, data)
            _check_settings(epochs, batch_size, len(images), lr, seed, 0.0, None, None, False)
            _check_batch(batch_size, len(images))
            model.to(place).train()
        images = images.to(place)
        stack = _stack(models, images[:batch_size], labels, objective)
        if stack is not None:
            return _fit_stack(stack, images, betas, seeds, objective, **common)
    return [
        fit(
            model,
            data,
            seed=seed,
            beta=None if betas is None else betas[rank],
            device=device,
            objective=objective,
            **common,
        )
        for rank, (model, seed) in enumerate(zip(models, seeds, strict=True))
    ]


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """L'appareil demandé ; « auto » prend un GPU s'il y en a un, sinon le processeur.

    Lève :
        ValueError : appareil inconnu ou absent de cette machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"Appareil « {device} » inconnu ou absent de cette machine. "
            "Choisissez « auto », « cpu » ou, avec un GPU, « cuda »."
        ) from error
    return place


def linear_warmup(steps: int, *, end: float = 1.0) -> Schedule:
    """β monte de 0 à `end` en ligne droite pendant `steps` pas, puis y reste.

    Lève :
        ValueError : moins d'un pas.

    Source :
        Bowman et al. (2016), section 3.1 ; Sønderby et al. (2016).
    """
    if steps < 1:
        raise ValueError(f"steps={steps} : la montée de β dure au moins un pas.")
    return lambda step: end * min(1.0, step / steps)


def cyclical(period: int, *, rise: float = 0.5, end: float = 1.0) -> Schedule:
    """β recommence tous les `period` pas : il monte de 0 à `end` pendant la part `rise`, puis y reste.

    Paramètres :
        period : durée d'un cycle, en pas.
        rise : part du cycle où β monte.
        end : valeur atteinte.

    Lève :
        ValueError : période de moins d'un pas, ou part hors de ]0, 1].

    Source :
        Fu et al. (2019), équation 6.
    """
    if period < 1 or not 0 < rise <= 1:
        raise ValueError(f"period={period}, rise={rise} : il faut period ≥ 1 et 0 < rise ≤ 1.")
    return lambda step: end * min(1.0, (step % period) / (rise * period))


def _adam(weights: Iterable[Tensor], lr: float, place: torch.device) -> torch.optim.Adam:
    """Adam fusionné, un seul noyau par pas ; sur un GPU, de ceux qu'un graphe sait enregistrer."""
    fused = place.type in ("cpu", "cuda") or None
    return torch.optim.Adam(weights, lr=lr, fused=fused, capturable=place.type == "cuda")


def _wanted(epochs: int) -> int:
    """Le nombre d'époques, une seule en mode rapide."""
    if quick.enabled() and epochs > 1:
        quick.notice(f"une époque au lieu de {epochs}")
        return 1
    return epochs


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 2**20 + epoch + 1


def _captures(objective: Any, place: torch.device) -> bool:
    """Vrai si un pas de cet objectif, qui ne fait rien d'autre en Python, gagne à être enregistré."""
    if place.type != "cuda":
        return False
    while isinstance(objective, partial):
        if not all(isinstance(value, int | float | str) for value in objective.keywords.values()):
            return False
        objective = objective.func
    return getattr(objective, "__module__", "") == objectives.__name__


def _empty() -> Tensor:
    return torch.empty(0, len(Terms._fields), dtype=torch.float64)


@dataclass
class _Progress:
    """Les mesures accumulées : une ligne par époque ou par pas, une colonne par terme."""

    epochs: Tensor = field(default_factory=_empty)
    steps: Tensor = field(default_factory=_empty)
    validation: Tensor = field(default_factory=_empty)

    @property
    def best_epoch(self) -> int:
        return int(self.validation[:, 0].argmax())

    def history(self, interrupted: bool, *, validated: bool = False) -> History:
        return History(
            Terms(*self.epochs.unbind(1)),
            Terms(*self.steps.unbind(1)),
            Terms(*self.validation.unbind(1)) if validated else None,
            interrupted,
        )

    def exhausted(self, patience: int | None) -> bool:
        """Vrai si la validation n'a pas progressé depuis `patience` époques."""
        if patience is None or not len(self.validation):
            return False
        return len(self.validation) - 1 - self.best_epoch >= patience


def _one_step(
    optimizer: torch.optim.Optimizer, terms: Callable[..., Terms], *batch: Any, **options: Any
) -> Tensor:
    """Un pas d'Adam sur un lot. Renvoie les trois termes moyens, (3,) ou (3, K) pour K modèles."""
    result = terms(*batch, **options)
    optimizer.zero_grad()
    (-result.value.mean(-1)).sum().backward()
    optimizer.step()
    return torch.stack([term.detach().mean(-1) for term in result])


def _one_epoch(
    step: Callable[..., Tensor],
    order: Tensor,
    batch_size: int,
    beta: float | Schedule | None,
    first_step: int,
    bar: Any,
) -> Tensor:
    """Une époque d'optimisation. Renvoie (pas, 3) ; l'appareil n'est attendu qu'à la fin."""
    measured = []
    for number, chosen in enumerate(order.split(batch_size), start=first_step):
        options = {} if beta is None else {"beta": beta(number) if callable(beta) else beta}
        measured.append(step(chosen, **options))
        bar.update(len(chosen))
    return torch.stack(measured).to("cpu", torch.float64)


def _stack(
    models: Sequence[nn.Module], x: Tensor, labels: Tensor | None, objective: Callable[..., Terms]
) -> Stack | None:
    """Les modèles empilés, si l'objectif s'y calcule ; sinon rien, et un message dit pourquoi."""
    try:
        if labels is not None:
            raise TypeError("un modèle conditionnel reçoit ses étiquettes lot par lot")
        stack = Stack(models, objective)
        stack.rehearse(x)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        tqdm.write(f"Modèles entraînés l'un après l'autre : ensemble, c'est impossible ({reason}).")
        return None
    return stack


def _fit_stack(
    stack: Stack,
    images: Tensor,
    betas: Sequence[float | Schedule] | None,
    seeds: Sequence[int],
    objective: Callable[..., Terms],
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    progress: bool,
) -> list[History]:
    """L'entraînement de K modèles empilés."""
    place, epochs = images.device, _wanted(epochs)
    optimizer = _adam(stack.weights.values(), lr, place)

    def terms(x: Tensor, *others: Tensor) -> Terms:
        return stack.terms(x, None, *others) if betas is None else stack.terms(x, *others)

    update: Callable[..., Tensor] = partial(_one_step, optimizer, terms)
    if _captures(objective, place):
        update = CapturedStep(update)
    generators = [torch.Generator(place) for _ in seeds]

    def step(chosen: Tensor, beta: Tensor | None = None) -> Tensor:
        x = images[chosen.T]
        noise = stack.noise(x[0], generators)
        return update(x, *noise) if beta is None else update(x, beta, *noise)

    def beta_at(number: int) -> Tensor:
        values = [beta(number) if callable(beta) else beta for beta in betas or ()]
        return torch.tensor(values, dtype=images.dtype, device=place)

    constant = betas is None or not any(map(callable, betas))
    beta: Any = None if betas is None else beta_at(0) if constant else beta_at
    runs = [_Progress() for _ in seeds]
    interrupted = False
    quiet: dict[str, Any] = {} if progress else {"disable": True}
    bar = tqdm(total=epochs * len(images), unit=" images", unit_scale=True, **quiet)
    try:
        with bar:
            for epoch in range(epochs):
                for generator, seed in zip(generators, seeds, strict=True):
                    generator.manual_seed(_epoch_seed(seed, epoch))
                orders = [torch.randperm(len(images), generator=g, device=place) for g in generators]
                order = torch.stack(orders, 1)
                measured = _one_epoch(step, order, batch_size, beta, len(runs[0].steps), bar)
                for rank, run in enumerate(runs):
                    own = measured[..., rank]
                    _check_finite(own, [weight[rank] for weight in stack.weights.values()], epoch)
                    run.steps = torch.cat([run.steps, own])
                    run.epochs = torch.cat([run.epochs, _weighted_mean(own, len(images), batch_size)])
    except KeyboardInterrupt:
        interrupted = True
        tqdm.write(f"Entraînement interrompu ; {len(runs[0].epochs)} époques achevées sur {epochs}.")
    finally:
        stack.unstack()
    return [run.history(interrupted) for run in runs]


@torch.no_grad()
def _validate(model: nn.Module, terms: Callable[..., Terms], held_out: Tensor, epoch: int) -> Tensor:
    """Les trois termes moyens des images mises de côté, toujours aux mêmes tirages. Renvoie (1, 3)."""
    model.eval()
    with _own_randomness(held_out.device):
        torch.manual_seed(0)
        sums = [
            torch.stack([term.to("cpu", torch.float64).sum() for term in terms(chosen)])
            for chosen in held_out.split(1024)
        ]
    row = torch.stack(sums).sum(0, keepdim=True) / len(held_out)
    if not row.isfinite().all():
        raise FloatingPointError(
            f"En validation, à l'époque {epoch + 1}, l'objectif n'est plus un nombre fini. Réduisez lr."
        )
    return row


def _save(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, run: _Progress, settings: dict[str, Any]
) -> None:
    content: dict[str, Any] = {
        "optimizer": optimizer,
        "history": {"epochs": run.epochs, "steps": run.steps, "validation": run.validation},
        "state": {"epoch": len(run.epochs), "settings": settings},
    }
    # Le meilleur d'abord : tué entre les deux, l'entraînement rejoue l'époque et réécrit le même.
    if len(run.validation) and run.best_epoch == len(run.validation) - 1:
        checkpoints.save(folder / checkpoints.BEST, model, **content)
    checkpoints.save(folder / checkpoints.LAST, model, **content)


def _start_or_resume(
    folder: Path,
    resume: bool,
    epochs: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
) -> _Progress:
    """L'avancement d'où partir : rien, ou celui du dossier si c'est bien le même entraînement."""
    path = folder / checkpoints.LAST
    if not path.exists():
        return _Progress()
    if not resume:
        raise checkpoints.CheckpointError(
            f"{folder} contient déjà un entraînement. Reprenez-le par resume=True, ou changez de dossier."
        )
    history, state = checkpoints.restore(path, model, optimizer)
    different = [name for name, value in settings.items() if value != state["settings"].get(name)]
    if different:
        raise checkpoints.CheckpointError(
            f"{path} vient d'un autre entraînement ; diffère : {', '.join(different)}. "
            "Reprenez les mêmes réglages, ou choisissez un autre dossier."
        )
    run = _Progress(**history)
    if len(run.epochs) > epochs:
        raise checkpoints.CheckpointError(
            f"{path} a déjà {len(run.epochs)} époques ; epochs={epochs} n'en demande pas tant."
        )
    return run


def _name(choice: Any) -> Any:
    """Ce qui distingue un objectif ou un β dans un point de reprise : sa valeur, ou le nom de la fonction."""
    if isinstance(choice, partial):
        return [_name(choice.func), {key: _name(value) for key, value in choice.keywords.items()}]
    return getattr(choice, "__qualname__", choice)


def _fingerprint(images: Tensor, labels: Tensor | None) -> int:
    """Une empreinte des données, la même quel que soit le nombre de fils d'exécution."""
    code = zlib.crc32(images.cpu().contiguous().numpy().data)
    return code if labels is None else zlib.crc32(labels.cpu().contiguous().numpy().data, code)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Laisse à l'appelant son générateur comme il était."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _weighted_mean(measured: Tensor, images: int, batch_size: int) -> Tensor:
    """La moyenne par image d'une époque : le dernier lot, plus court, pèse ce qu'il est. Renvoie (1, 3)."""
    sizes = torch.full((len(measured), 1), float(batch_size), dtype=torch.float64)
    sizes[-1] = images - batch_size * (len(measured) - 1)
    return (sizes * measured).sum(0, keepdim=True) / images


def _summary(row: Tensor) -> str:
    value, reconstruction, kl = (f"{number:.1f}".replace(".", ",") for number in row.tolist())
    return f"objectif {value}, reconstruction {reconstruction}, KL {kl} nats"


def _check_data(model: nn.Module, data: Labelled | Tensor) -> tuple[Tensor, Tensor | None]:
    """Les images, dans le type des poids, et les étiquettes d'un modèle conditionnel."""
    images = data if isinstance(data, Tensor) else data.images
    if not images.is_floating_point():
        raise ValueError(f"Images de type {images.dtype} : il faut des réels dans [0, 1] ; divisez par 255.")
    shape = tuple(getattr(model, "image_shape", images.shape[1:]))
    if tuple(images.shape[1:]) != shape or not len(images):
        raise ValueError(
            f"Images de forme {tuple(images.shape)} ; il faut (N, {', '.join(map(str, shape))}), N ≥ 1."
        )
    low, high = map(float, images.aminmax())  # une seule lecture ; un NaN les rend NaN tous deux
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~images.flatten(1).isfinite()).any(1).nonzero()[0])
        raise ValueError(
            f"L'image {bad} contient une valeur non finie (NaN ou infini). Nettoyez les données."
        )
    if low < 0 or high > 1:
        raise ValueError(
            f"Valeurs de {low:g} à {high:g} : les images doivent être dans [0, 1]. "
            "Divisez par 255 des images sur 8 bits."
        )
    images = images.to(next(model.parameters()).dtype)
    if not hasattr(model, "given"):
        return images, None
    if isinstance(data, Tensor):
        raise ValueError("Ce modèle est conditionnel : passez un jeu avec des étiquettes (images et labels).")
    if len(data.labels) != len(images):
        raise ValueError(f"{len(images)} images et {len(data.labels)} étiquettes : il en faut une par image.")
    if isinstance(model, ConditionalVAE):
        model.check_labels(data.labels)
    return images, data.labels


def _check_settings(
    epochs: int,
    batch_size: int,
    images: int,
    lr: float,
    seed: int,
    validation: float,
    patience: int | None,
    checkpoint: str | Path | None,
    resume: bool,
) -> None:
    if not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs={epochs} : il faut un entier, au moins une époque.")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size} : il faut un entier, au moins une image par lot.")
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} : il faut un entier de 0 à 2³² − 1.")
    if not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"lr={lr} : le pas d'apprentissage doit être strictement positif et fini.")
    if not 0 <= validation < 1 or 0 < validation * images < 0.5:
        raise ValueError(
            f"validation={validation} : il faut une part de [0, 1[ qui garde au moins une image."
        )
    if patience is not None and (patience < 1 or not validation):
        raise ValueError("patience demande au moins une époque et une part de validation non nulle.")
    if resume and checkpoint is None:
        raise ValueError("resume=True demande un dossier : donnez checkpoint=…")


def _check_batch(batch_size: int, images: int) -> None:
    if batch_size > images:
        raise ValueError(
            f"batch_size={batch_size}, mais il n'y a que {images} images à apprendre. Réduisez batch_size."
        )


def _check_finite(measured: Tensor, weights: Iterable[Tensor], epoch: int) -> None:
    if not torch.stack([weight.isfinite().all() for weight in weights]).all():
        # Le dernier pas peut abîmer les poids après la dernière mesure.
        measured = torch.cat([measured, torch.full((1, 3), math.nan, dtype=torch.float64)])
    finite = measured.isfinite().all(1)
    if not finite.all():
        step = int((~finite).nonzero()[0]) + 1
        raise FloatingPointError(
            f"L'objectif ou les poids ne sont plus des nombres finis à l'époque {epoch + 1}, pas {step}. "
            "Réduisez lr, ou vérifiez que la variance de la vraisemblance ne tend pas vers 0."
        )
