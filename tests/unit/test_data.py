"""Les données : d'où elles viennent, ce qui est refusé, et ce que valent les jeux synthétiques.

Exécuté comme un programme, ce fichier refait les échantillons de ``vaebook/samples`` (voir leur README).
"""

import gzip
import hashlib
import itertools
import math
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scipy.stats import chi2_contingency, chisquare
from torch import Tensor

from vaebook import data
from vaebook.data import Images, Shapes, binarise, dequantise, draw_shapes, linear_gaussian, mnist, shapes
from vaebook.data import fashion_mnist as fashion

PER_CLASS = {"train": 100, "test": 50}
DATA_SETS = [pytest.param(data._FASHION_MNIST, id="fashion"), pytest.param(data._MNIST, id="mnist")]


# --- Outils ---


def idx(values: Tensor) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.to(torch.uint8).numpy().tobytes()


def first_of_each_class(full: Images, per_class: int) -> Images:
    chosen = [(full.labels == label).nonzero()[:per_class, 0] for label in range(10)]
    return full[torch.cat(chosen).sort().values]


def contents(images: Images, split: str) -> dict[str, bytes]:
    """Les deux fichiers IDX d'une partie."""
    image_name, label_name = data._names(split)
    return {image_name: idx((images.images[:, 0] * 255).round()), label_name: idx(images.labels)}


def real_place(data_set: data._DataSet) -> Path:
    """Le premier endroit qui a le jeu complet. Son absence est un échec sous CI, ailleurs un test sauté."""
    variable = os.environ.get("VAEBOOK_DATA")
    places = [Path(variable)] if variable else []
    for place in [*places, data._cache(), data._DEBIAN / data_set.name.lower()]:
        if all(data._find(data_set, split, place) for split in ("train", "test")):
            return place
    message = f"{data_set.name} n'est pas installé : rangez-le dans VAEBOOK_DATA/{data_set.folder}/raw/."
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def write(folder: Path, files: dict[str, bytes], *, compress: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if compress else name)
        path.write_bytes(gzip.compress(content) if compress else content)
    return folder


@pytest.fixture(autouse=True)
def places(request, monkeypatch, tmp_path):
    """Un cache, un dossier Debian et un VAEBOOK_DATA vides, sauf pour les tests sur les vrais jeux."""
    if "real" not in request.node.name:
        monkeypatch.setattr(data, "user_cache_path", lambda *_, **__: tmp_path / "cache")
        monkeypatch.setattr(data, "_DEBIAN", tmp_path / "debian")
        monkeypatch.delenv("VAEBOOK_DATA", raising=False)


@pytest.fixture
def tiny(monkeypatch):
    """Un Fashion-MNIST de quatre images d'apprentissage et deux de test : ses quatre fichiers."""
    generator = torch.Generator().manual_seed(0)
    files, full = {}, {}
    for split, n in (("train", 4), ("test", 2)):
        pixels = torch.randint(256, (n, 28, 28), generator=generator)
        part = {name: idx(a) for name, a in zip(data._names(split), (pixels, torch.arange(n)), strict=True)}
        full[split] = data._Part(n, *(hashlib.sha256(content).hexdigest() for content in part.values()))
        files |= part
    monkeypatch.setattr(data, "_FASHION_MNIST", data._FASHION_MNIST._replace(full=full))
    return files


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- Chercher et lire ---


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("layout", ["", "data", "FashionMNIST/raw"])
def test_every_layout_gives_the_same_values(tiny, tmp_path, layout, compress):
    write(tmp_path / "root" / layout, tiny, compress=compress)
    train, test = fashion(root=tmp_path / "root"), fashion("test", root=str(tmp_path / "root"))
    expected = torch.tensor(list(tiny["train-images-idx3-ubyte"][16:])).view(4, 1, 28, 28)
    assert torch.equal(train.images, expected.to(torch.float32) / 255)
    assert train.images.dtype == torch.float32
    assert train.labels.tolist() == [0, 1, 2, 3]
    assert train.labels.dtype == torch.int64
    assert (len(train), len(test)) == (4, 2)
    assert (train.name, test.name) == ("Fashion-MNIST (train)", "Fashion-MNIST (test)")
    assert train.classes[8:] == ("Sac", "Bottine")


def test_lookup_order(tiny, tmp_path, monkeypatch):
    def found(root: Path | None = None) -> Path:
        return data._locate(data._FASHION_MNIST, "train", root, False)[0].parent

    env, root = tmp_path / "env", tmp_path / "root"
    monkeypatch.setenv("VAEBOOK_DATA", str(env))
    debian = write(tmp_path / "debian" / "fashion-mnist", tiny, compress=True)
    assert found() == debian
    cache = write(tmp_path / "cache" / "FashionMNIST" / "raw", tiny)
    assert found() == cache
    assert found() == cache  # un VAEBOOK_DATA sans ce jeu n'arrête pas la recherche
    write(env, tiny)
    assert found() == env
    write(root, tiny)
    assert found(root) == root
    with pytest.raises(FileNotFoundError, match=r"introuvable.*Corrigez root="):
        found(tmp_path / "ailleurs")


def test_a_bad_file_is_refused_even_if_a_good_one_comes_later(tiny, tmp_path):
    write(tmp_path / "debian" / "fashion-mnist", tiny)
    bad = write(tmp_path / "cache", tiny | {"train-labels-idx1-ubyte": b""}) / "train-labels-idx1-ubyte"
    with pytest.raises(ValueError, match=rf"{bad}.*tronqué"):
        fashion()


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "tronqué": (lambda c: c[:-10], r"tronqué \(3142 octets au lieu de 3152\)"),
    "en-tête tronqué": (lambda c: c[:7], r"tronqué \(7 octets au lieu de 3152\)"),
    "vide": (lambda c: b"", r"tronqué \(0 octets au lieu de 3152\)"),
    "trop long": (lambda c: c + b"\0", r"trop long \(3153 octets au lieu de 3152\)"),
    "corrompu": (flip, r"contenu différent de l'original \(SHA-256 [0-9a-f]{12}… au lieu de [0-9a-f]{12}…\)"),
    "nombre magique": (lambda c: b"\0\0\x0d\3" + c[4:], r"pas un fichier IDX.*00000d03, et non 00000803"),
    "page web": (lambda c: b"<!DOCTYPE html>".ljust(3152), "pas un fichier IDX"),
    "forme": (lambda c: idx(torch.zeros(4, 14, 56)), r"forme \(4, 14, 56\) au lieu de \(4, 28, 28\)"),
    "nombre d'images": (lambda c: idx(torch.zeros(3, 28, 28)), r"forme \(3, 28, 28\) au lieu de"),
}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_bad_content_is_refused(tiny, tmp_path, fault, compress):
    damage, message = FAULTS[fault]
    name = "train-images-idx3-ubyte"
    root = write(tmp_path / "root", tiny | {name: damage(tiny[name])}, compress=compress)
    path = root / (f"{name}.gz" if compress else name)
    with pytest.raises(ValueError, match=message) as caught:
        fashion(root=root)
    assert str(caught.value).startswith(f"Fichier refusé, {path}\u00a0: ")
    assert str(caught.value).endswith(". Remplacez-le par l'original, ou supprimez-le.")


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[: len(c) // 2],
        lambda c: b"pas du gzip",
        lambda c: c[:30] + bytes(20) + c[50:],
        lambda c: c[:-1],
    ],
    ids=["tronquée", "pas gzip", "abîmée", "sans somme"],
)
def test_bad_archive_is_refused(tiny, tmp_path, damage):
    root = write(tmp_path / "root", tiny, compress=True)
    path = root / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{path}.*archive gzip tronquée ou abîmée"):
        fashion("test", root=root)
    assert len(fashion("train", root=root)) == 4


def test_wrong_labels_are_refused(tiny, tmp_path):
    root = write(tmp_path, tiny | {"train-labels-idx1-ubyte": idx(torch.arange(4).flip(0))})
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.*contenu différent"):
        fashion(root=root)


def test_the_other_data_set_is_named(tiny, tmp_path, monkeypatch):
    train = data._FASHION_MNIST.full["train"]
    wrong = train._replace(images=hashlib.sha256(flip(tiny["train-images-idx3-ubyte"])).hexdigest())
    monkeypatch.setattr(data, "_MNIST", data._MNIST._replace(full={"train": wrong}))
    with pytest.raises(ValueError, match="c'est celui de Fashion-MNIST"):
        mnist(root=write(tmp_path, tiny))


def test_missing_file(tiny, tmp_path):
    del tiny["t10k-labels-idx1-ubyte"]
    root = write(tmp_path, tiny)
    with pytest.raises(FileNotFoundError, match=r"Fashion-MNIST est introuvable.*t10k-labels-idx1-ubyte"):
        fashion("test", root=root)


def test_unreadable_file(tiny, tmp_path, monkeypatch):
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PermissionError, match=r"Impossible de lire .*train-images-idx3-ubyte .*droits"):
        fashion(root=write(tmp_path, tiny))


@pytest.mark.parametrize("load", [fashion, mnist])
@pytest.mark.parametrize("split", ["validation", "", "Train", None])
def test_unknown_split(load, split):
    with pytest.raises(ValueError, match=r"Partie inconnue.*«\strain\s» ou «\stest\s»"):
        load(split)


def test_sample_and_root_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="pas les deux"):
        fashion(root=tmp_path, sample=True)


# --- Télécharger ---


@pytest.fixture
def torchvision_download(monkeypatch):
    """Remplace le téléchargement de torchvision : écrit des fichiers, appelle ``then``, compte les appels."""
    from vaebook._torchvision import torchvision

    calls: list[str] = []

    def install(files: dict[str, bytes], then: Callable[[], None] = lambda: None) -> list[str]:
        def download(root: str, *, download: bool) -> None:
            assert download
            calls.append(root)
            raw = Path(root) / "FashionMNIST" / "raw"
            write(raw, files)
            write(raw, files, compress=True)  # torchvision garde aussi les archives
            then()

        monkeypatch.setattr(torchvision.datasets, "FashionMNIST", download)
        return calls

    return install


def test_download_fills_the_cache_once(tiny, tmp_path, torchvision_download):
    calls = torchvision_download(tiny)
    downloaded = fashion("test")
    assert left_in(tmp_path / "cache") == sorted(
        ["FashionMNIST", "FashionMNIST/raw", *(f"FashionMNIST/raw/{name}" for name in tiny)]
    )
    assert torch.equal(fashion("test").images, downloaded.images)
    assert len(fashion("train")) == 4
    assert len(calls) == 1
    assert Path(calls[0]).parent == tmp_path / "cache"  # même disque, donc renommage atomique


def failing(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "error", [RuntimeError("Error downloading"), ConnectionResetError("coupé"), OSError(28, "No space left")]
)
def test_failed_download_leaves_nothing(tiny, tmp_path, torchvision_download, error):
    torchvision_download({"train-images-idx3-ubyte": tiny["train-images-idx3-ubyte"][:99]}, failing(error))
    with pytest.raises(FileNotFoundError, match=r"introuvable.*téléchargement a échoué.*connexion") as caught:
        fashion()
    assert str(error) in str(caught.value)
    assert left_in(tmp_path / "cache") == []


def test_interrupted_download_leaves_nothing(tiny, tmp_path, torchvision_download):
    torchvision_download({"train-images-idx3-ubyte": b"moiti"}, failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        fashion()
    assert left_in(tmp_path / "cache") == []


def test_wrong_download_is_refused(tiny, tmp_path, torchvision_download):
    torchvision_download(tiny | {"t10k-labels-idx1-ubyte": flip(tiny["t10k-labels-idx1-ubyte"])})
    with pytest.raises(FileNotFoundError, match=r"téléchargement a échoué.*t10k-labels-idx1-ubyte.*SHA-256"):
        fashion()
    assert left_in(tmp_path / "cache") == []


def test_unwritable_cache(tiny, tmp_path, monkeypatch, torchvision_download):
    calls = torchvision_download(tiny)
    monkeypatch.setattr(os, "mkdir", lambda *_, **__: failing(PermissionError(13, "Permission denied"))())
    with pytest.raises(
        PermissionError, match=r"Impossible d'écrire dans le cache .*Permission denied.*root="
    ):
        fashion()
    assert calls == []
    assert not (tmp_path / "cache").exists()


def test_cache_full_at_the_last_step(tiny, tmp_path, monkeypatch, torchvision_download):
    torchvision_download(tiny)
    replace, moved = os.replace, []

    def replace_once(source: Path, target: Path) -> None:
        if moved:
            raise OSError(28, "No space left on device")
        moved.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_once)
    with pytest.raises(OSError, match=r"Impossible d'écrire dans le cache .*No space left on device"):
        fashion()
    # Le fichier déjà rangé est entier ; le reste n'a rien laissé.
    raw = tmp_path / "cache" / "FashionMNIST" / "raw"
    assert left_in(tmp_path / "cache") == ["FashionMNIST", "FashionMNIST/raw", f"FashionMNIST/raw/{moved[0]}"]
    assert (raw / moved[0]).read_bytes() == tiny[moved[0]]


# --- Les vrais jeux et leurs échantillons ---


def test_real_fashion_mnist():
    root = real_place(data._FASHION_MNIST)
    train, test = fashion(root=root), fashion("test", root=root)
    assert train.images.shape == (60_000, 1, 28, 28)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert train.labels[:6].tolist() == [9, 0, 0, 3, 0, 2]
    assert test.labels[:6].tolist() == [9, 2, 1, 1, 6, 1]
    assert train.labels.bincount().tolist() == [6000] * 10
    assert train.images.double().mean().item() == pytest.approx(0.286041, abs=1e-6)
    assert (train.images.min().item(), train.images.max().item()) == (0.0, 1.0)
    assert train.classes[train.labels[0]] == "Bottine"


def test_real_mnist():
    root = real_place(data._MNIST)
    train, test = mnist(root=root), mnist("test", root=root)
    assert train.labels[:6].tolist() == [5, 0, 4, 1, 9, 2]
    assert test.labels[:6].tolist() == [7, 2, 1, 0, 4, 1]
    assert train.images.double().mean().item() == pytest.approx(0.130660, abs=1e-6)
    assert train.classes[train.labels[0]] == "5"
    with pytest.raises(ValueError, match="c'est celui de MNIST"):
        fashion(root=data._find(data._MNIST, "train", root)[0].parent)


@pytest.mark.parametrize("data_set", DATA_SETS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_sample_of_the_real_set(data_set, split):
    chosen = first_of_each_class(data._load(data_set, split, real_place(data_set), False), PER_CLASS[split])
    sample = data._load(data_set, split, None, True)
    assert torch.equal(sample.images, chosen.images)
    assert torch.equal(sample.labels, chosen.labels)
    folder = data._SAMPLES / data_set.name.lower()
    for name, content in contents(chosen, split).items():
        assert gzip.decompress((folder / f"{name}.gz").read_bytes()) == content


@pytest.mark.parametrize("load", [fashion, mnist])
@pytest.mark.parametrize(("split", "per_class"), PER_CLASS.items())
def test_sample(load, split, per_class):
    sample = load(split, sample=True)
    assert sample.images.shape == (10 * per_class, 1, 28, 28)
    assert sample.labels.bincount().tolist() == [per_class] * 10
    assert (sample.images.min().item(), sample.images.max().item()) == (0.0, 1.0)
    assert sample.name.endswith(f"({split}, échantillon)")


def test_samples_are_light_and_licensed():
    files = [path for path in data._SAMPLES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_500_000
    assert "Zalando SE" in (data._SAMPLES / "fashion-mnist" / "LICENSE").read_text("utf-8")
    assert "Corinna Cortes" in (data._SAMPLES / "mnist" / "LICENSE").read_text("utf-8")


def test_sample_is_never_used_silently(tmp_path, torchvision_download):
    torchvision_download({}, failing(RuntimeError("hors ligne")))
    with pytest.raises(FileNotFoundError, match="hors ligne"):
        fashion()


def test_sample_missing_from_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "_SAMPLES", tmp_path)
    with pytest.raises(FileNotFoundError, match="Réinstallez vaebook"):
        fashion(sample=True)


# --- Images ---


def test_images_can_be_split():
    sample = fashion("test", sample=True)
    for part in (sample[[3, 1]], sample[torch.tensor([3, 1])]):
        assert torch.equal(part.images, torch.stack([sample.images[3], sample.images[1]]))
        assert part.labels.tolist() == [sample.labels[3].item(), sample.labels[1].item()]
        assert (part.classes, part.name) == (sample.classes, sample.name)
    assert len(sample[10:30:2]) == 10
    bags = sample[sample.labels == 8]
    assert len(bags) == 50
    assert set(bags.labels.tolist()) == {8}
    assert repr(bags) == "<Fashion-MNIST (test, échantillon)\u00a0: 50 images 1 × 28 × 28, 10 classes>"


@pytest.mark.parametrize("index", [0, torch.tensor(0)])
def test_one_image_is_not_a_set(index):
    with pytest.raises(TypeError, match=r"écrivez data\.images"):
        fashion("test", sample=True)[index]


# --- Bruit ---


def test_binarise_is_seeded_and_unbiased():
    levels = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64).repeat(20_000, 1)
    first = binarise(levels, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first, binarise(levels, generator=torch.Generator().manual_seed(3)))
    assert not torch.equal(first, binarise(levels, generator=torch.Generator().manual_seed(4)))
    assert first.dtype == torch.float64
    assert set(first.unique().tolist()) == {0.0, 1.0}
    mean = first.mean(0)
    assert (mean[0].item(), mean[-1].item()) == (0.0, 1.0)
    standard_error = (levels[0] * (1 - levels[0]) / len(levels)).sqrt()
    assert ((mean - levels[0]).abs() <= 4 * standard_error).all()


def test_binarise_draws_again_at_each_call():
    generator = torch.Generator().manual_seed(0)
    grey = torch.full((100,), 0.5)
    assert not torch.equal(binarise(grey, generator=generator), binarise(grey, generator=generator))


def test_dequantise_fills_each_level_uniformly():
    levels = torch.arange(256, dtype=torch.float64) / 255
    noisy = dequantise(levels.repeat(2000, 1), generator=torch.Generator().manual_seed(0))
    inside = 256 * noisy - torch.arange(256)
    assert inside.min().item() > -1e-9
    assert inside.max().item() < 1
    assert inside.mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / inside.numel()))
    assert inside.var().item() == pytest.approx(1 / 12, rel=0.01)
    again = dequantise(levels.repeat(2000, 1), generator=torch.Generator().manual_seed(0))
    assert torch.equal(noisy, again)


@pytest.mark.parametrize("noise", [binarise, dequantise])
@pytest.mark.parametrize(
    "bad", [torch.tensor([1.5]), torch.tensor([-0.1]), torch.tensor([math.nan]), torch.tensor([1, 0])]
)
def test_noise_refuses_what_is_not_a_grey_level(noise, bad):
    with pytest.raises(ValueError, match=r"dans \[0, 1\]"):
        noise(bad, generator=torch.Generator())


# --- Formes ---

CENTRE = [6, 6]


def test_shapes_are_deterministic():
    first, again, other = shapes(500, seed=1), shapes(500, seed=1), shapes(500, seed=2)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.factors, again.factors)
    assert not torch.equal(first.factors, other.factors)
    assert torch.equal(draw_shapes(first.factors), first.images)  # rien d'autre que les facteurs
    assert torch.equal(first.labels, first.factors[:, 0])
    assert first.images.shape == (500, 1, 28, 28)
    assert first.images.dtype == torch.float32
    assert (first.images.min().item(), first.images.max().item()) == (0.0, 1.0)


def test_factors_are_uniform_and_independent():
    factors = shapes(20_000).factors
    for j, size in enumerate(Shapes.factor_sizes):
        counts = factors[:, j].bincount()
        assert len(counts) == size
        assert chisquare(counts.numpy()).pvalue > 1e-3
    for i, j in itertools.combinations(range(5), 2):
        table = torch.zeros(Shapes.factor_sizes[i], Shapes.factor_sizes[j], dtype=torch.int64)
        table.index_put_((factors[:, i], factors[:, j]), torch.tensor(1), accumulate=True)
        assert chi2_contingency(table.numpy()).pvalue > 1e-3


def test_every_factor_shows_in_the_image():
    # À position fixe, deux des 180 images ne se confondent jamais ; la position, elle, déplace exactement.
    kinds = [range(size) for size in Shapes.factor_sizes[:3]]
    factors = torch.tensor([[*values, *CENTRE] for values in itertools.product(*kinds)])
    distances = torch.cdist(draw_shapes(factors).flatten(1), draw_shapes(factors).flatten(1))
    assert len(factors) == 180
    assert (distances + 10 * torch.eye(180)).min().item() > 0.2


def test_position_moves_the_shape_by_whole_pixels():
    for kind, turn in itertools.product(range(3), (0, 4, 9)):
        here = draw_shapes(torch.tensor([[kind, 5, turn, 6, 6]]))
        for x, y in [(0, 0), (12, 0), (0, 12), (12, 12), (7, 3)]:
            there = draw_shapes(torch.tensor([[kind, 5, turn, x, y]]))
            assert torch.equal(there, here.roll((y - 6, x - 6), (2, 3)))
            assert there.sum().item() == pytest.approx(here.sum().item())  # rien n'est coupé


def test_square_pixels_and_areas():
    square, ellipse, triangle = draw_shapes(torch.tensor([[kind, 5, 0, *CENTRE] for kind in range(3)]))
    # Côté 10,6 centré en 13,5 : le bord couvre 0,3 du pixel 19.
    torch.testing.assert_close(square[0, 13, 17:21], torch.tensor([1.0, 1.0, 0.3, 0.0]))
    assert square.sum().item() == pytest.approx(10.6**2, rel=0.01)
    assert ellipse.sum().item() == pytest.approx(math.pi * 7.5 * 4.5, rel=0.01)
    assert triangle.sum().item() == pytest.approx(3 * math.sqrt(3) * 3.75**2, rel=0.01)
    widths = triangle[0].sum(1)
    assert widths[8].item() < widths[12].item() < widths[16].item()  # la pointe en haut
    small = draw_shapes(torch.tensor([[0, 0, 0, *CENTRE]]))
    assert small.sum().item() == pytest.approx(5.3**2, rel=0.05)  # les coins, surtout, sont approchés


def test_rotation_turns_by_nine_degrees():
    # L'angle du grand axe de l'ellipse, lu dans les moments d'ordre 2 de l'image.
    images = draw_shapes(torch.tensor([[1, 5, turn, *CENTRE] for turn in range(10)])).double()[:, 0]
    d = torch.arange(28, dtype=torch.float64) - 13.5
    xx, yy = (images * d**2).sum((1, 2)), (images * d[:, None] ** 2).sum((1, 2))
    xy = (images * d * d[:, None]).sum((1, 2))
    angles = torch.rad2deg(0.5 * torch.atan2(2 * xy, xx - yy))
    torch.testing.assert_close(angles, 9.0 * torch.arange(10).double(), rtol=0, atol=0.5)


def test_shapes_can_be_split():
    part = shapes(20)[5:8]
    assert isinstance(part, Shapes)
    assert torch.equal(draw_shapes(part.factors), part.images)


@pytest.mark.parametrize("n", [0, -1])
def test_no_shapes(n):
    with pytest.raises(ValueError, match="au moins une image"):
        shapes(n)


@pytest.mark.parametrize("bad", [[[0, 0, 0, 0]], [[3, 0, 0, 0, 0]], [[0, 0, -1, 0, 0]], [0, 0, 0, 0, 0]])
def test_bad_factors(bad):
    with pytest.raises(ValueError, match=r"\(N, 5\), de 0 à respectivement 2, 5, 9, 12, 12"):
        draw_shapes(torch.tensor(bad))


# --- Linéaire gaussien ---


def test_linear_gaussian_follows_its_law():
    made = linear_gaussian(200_000, latent_dim=2, dim=4, sigma=0.3, seed=5)
    assert made.x.shape == (200_000, 4)
    assert (made.W.shape, made.mu.shape, made.sigma) == ((4, 2), (4,), 0.3)
    assert made.x.dtype == made.W.dtype == made.mu.dtype == torch.float64
    covariance = made.W @ made.W.T + 0.3**2 * torch.eye(4, dtype=torch.float64)
    n, variance = len(made.x), covariance.diagonal()
    assert ((made.x.mean(0) - made.mu).abs() <= 4 * (variance / n).sqrt()).all()
    # Écart-type d'une covariance empirique de lois normales : √((Σ_ii Σ_jj + Σ_ij²) / N).
    error = ((variance[:, None] * variance + covariance**2) / n).sqrt()
    assert ((made.x.T.cov() - covariance).abs() <= 4 * error).all()
    again = linear_gaussian(200_000, latent_dim=2, dim=4, sigma=0.3, seed=5)
    assert torch.equal(made.x, again.x)
    assert not torch.equal(made.W, linear_gaussian(1, latent_dim=2, dim=4, sigma=0.3, seed=6).W)


@pytest.mark.parametrize(
    "bad",
    [{"n": 0}, {"latent_dim": 0}, {"latent_dim": 5}, {"sigma": 0.0}, {"sigma": -1.0}, {"sigma": math.nan}],
)
def test_impossible_linear_gaussian(bad):
    arguments = {"n": 10, "latent_dim": 2, "dim": 4, "sigma": 0.1} | bad
    with pytest.raises(ValueError, match="1 ≤ latent_dim ≤ dim et sigma > 0"):
        linear_gaussian(arguments.pop("n"), **arguments)


# --- torchvision ---


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_torchvision_is_loaded_only_to_download():
    code = "import sys, vaebook.data as d; d.mnist(sample=True); print('torchvision' in sys.modules)"
    assert run_python(code).strip() == "False"


def test_torchvision_loads_even_after_a_failed_import():
    code = """
try:
    import torchvision
except RuntimeError as error:
    assert "torchvision::nms" in str(error), error
from vaebook._torchvision import torchvision
from torchvision.utils import make_grid
import torch
print(tuple(make_grid(torch.rand(4, 1, 28, 28), nrow=2).shape), torchvision.datasets.FashionMNIST.__name__)
"""
    assert run_python(code).strip() == "(3, 62, 62) FashionMNIST"


def test_only_the_known_failure_is_repaired(monkeypatch):
    from vaebook import _torchvision

    assert "_library" not in runpy.run_path(_torchvision.__file__)  # torchvision est chargé : rien à déclarer
    monkeypatch.setattr("importlib.import_module", lambda name: failing(RuntimeError("autre chose"))())
    with pytest.raises(RuntimeError, match="autre chose"):
        runpy.run_path(_torchvision.__file__)


if __name__ == "__main__":
    for source in (data._FASHION_MNIST, data._MNIST):
        for split, per_class in PER_CLASS.items():
            chosen = first_of_each_class(data._load(source, split, None, False), per_class)
            folder = data._SAMPLES / source.name.lower()
            for name, content in contents(chosen, split).items():
                (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
                print(folder / name, hashlib.sha256(content).hexdigest())
