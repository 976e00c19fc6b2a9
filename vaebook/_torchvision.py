"""torchvision, importé même quand ses opérateurs compilés pour CUDA ne trouvent qu'un torch pour CPU.

Dans ce cas ``import torchvision`` échoue : « operator torchvision::nms does not exist ». Déclarer les deux
opérateurs qu'il cherche à l'import suffit aux jeux de données, aux transformations et à ``make_grid`` ; ceux
de détection restent inutilisables. Rien n'est déclaré quand torchvision se charge tout seul.

Après ``from vaebook._torchvision import torchvision``, ``from torchvision.utils import make_grid`` marche
aussi.
"""

from importlib import import_module

import torch

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

try:
    torchvision = import_module("torchvision")
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    # Global : les déclarations disparaissent avec cet objet.
    _library = torch.library.Library("torchvision", "DEF")
    for _schema in _OPERATORS:
        _library.define(_schema)
    torchvision = import_module("torchvision")
