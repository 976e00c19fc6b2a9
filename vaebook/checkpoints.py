"""Les points de reprise : un seul fichier safetensors, dont l'en-tête porte l'état en JSON.

Un fichier unique se remplace d'un coup : à tout instant, le dossier contient l'ancien ou le nouveau, entiers.
Aucun pickle n'est jamais lu.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vaebook import models

# Les fichiers d'un dossier de points de reprise : celui de la dernière époque, celui de la meilleure.
LAST, BEST = "last.safetensors", "best.safetensors"

# La version de ce qui est écrit dans un fichier ; une autre est refusée.
FORMAT = 1

_KINDS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (models.Autoencoder, models.VAE, models.LinearVAE, models.ConditionalVAE)
}


class CheckpointError(ValueError):
    """Un point de reprise illisible, étranger, trop récent ou d'un autre modèle."""


def save(
    path: str | Path,
    model: nn.Module,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    history: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Écrit un modèle et, pour reprendre un entraînement, ce qui l'accompagne.

    Paramètres :
        path : le fichier à écrire, remplacé d'un coup ; son dossier est créé au besoin.
        model : un modèle de ``vaebook.models``.
        optimizer : son optimiseur.
        history : des tenseurs nommés, de forme quelconque.
        state : des valeurs prêtes pour du JSON.

    Lève :
        OSError : le fichier ne peut pas être écrit ; l'ancien, s'il y en avait un, est intact.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"history.{name}": tensor for name, tensor in (history or {}).items()}
    if optimizer is not None:
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in values.items()}
    header = {"format": FORMAT, "model": _describe(model), "state": dict(state or {})}
    content = safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={"vaebook": json.dumps(header)},
    )
    _replace(Path(path), content)


def load_model(path: str | Path, *, device: str | torch.device = "cpu") -> nn.Module:
    """Reconstruit le modèle d'un point de reprise.

    Paramètres :
        path : le fichier.
        device : l'appareil où mettre les poids.

    Renvoie :
        le modèle, en mode évaluation.

    Lève :
        FileNotFoundError : pas de fichier.
        CheckpointError : fichier tronqué, étranger, trop récent, ou modèle inconnu.
    """
    tensors, header = _read(Path(path))
    described = header["model"]
    if described["class"] not in _KINDS:
        raise CheckpointError(
            f"{path} contient un modèle inconnu de cette version : « {described['class']} »."
        )
    try:
        model = _KINDS[described["class"]](**described["config"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} décrit un modèle impossible à reconstruire : {error}") from error
    _load_weights(path, model, tensors)
    return model.to(device).eval()


def restore(
    path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Remet un modèle et son optimiseur dans l'état écrit par `save`.

    Paramètres :
        path : le fichier.
        model, optimizer : ceux de l'entraînement à reprendre, modifiés.

    Renvoie :
        les tenseurs de l'historique, de la forme écrite, et les valeurs de ``state``.

    Lève :
        FileNotFoundError : pas de fichier.
        CheckpointError : fichier tronqué, étranger, trop récent, ou d'un autre modèle.
    """
    tensors, header = _read(Path(path))
    if header["model"] != _describe(model):
        raise CheckpointError(
            f"{path} contient un autre modèle : {header['model']}, et non {_describe(model)}. "
            "Reprenez le même modèle, ou choisissez un autre dossier."
        )
    _load_weights(path, model, tensors)
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in _section("optimizer", tensors).items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return _section("history", tensors), header["state"]


def _load_weights(path: str | Path, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    try:
        model.load_state_dict(_section("model", tensors))
    except RuntimeError as error:  # des poids manquent, ou ont une autre forme
        raise CheckpointError(f"Les poids de {path} ne sont pas ceux du modèle qu'il décrit.") from error


def _describe(model: nn.Module) -> dict[str, Any]:
    return {"class": type(model).__name__, "config": model.config}


def _section(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"Pas de point de reprise en {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["vaebook"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} est tronqué ou n'est pas un fichier safetensors ({error}). Supprimez-le et recommencez."
        ) from error
    except (KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} n'a pas été écrit par vaebook.") from error
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise CheckpointError(f"{path} n'a pas été écrit par vaebook.")
    if header["format"] != FORMAT:
        newer = header["format"] > FORMAT
        raise CheckpointError(
            f"{path} est au format {header['format']} ; cette version de vaebook lit le format {FORMAT}. "
            + (
                "Mettez vaebook à jour."
                if newer
                else "Refaites l'entraînement, ou reprenez l'ancien vaebook."
            )
        )
    if not {"model", "state"} <= header.keys():
        raise CheckpointError(f"{path} est incomplet : il n'a pas été écrit par vaebook.")
    return tensors, header


def _replace(path: Path, content: bytes) -> None:
    """Écrit à côté, puis renomme : le fichier est l'ancien ou le nouveau, jamais une moitié."""
    beside = path.with_name(f".{path.name}.partiel")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise type(error)(
            error.errno,
            f"Impossible d'écrire {path} ({error.strerror}) : vérifiez la place et les droits. "
            "L'ancien point de reprise, s'il existe, est intact.",
        ) from error
    finally:  # Ctrl-C compris
        with contextlib.suppress(OSError):
            beside.unlink()
