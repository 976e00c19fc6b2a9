"""Les figures stockées sont allégées, et rien ne s'y voit."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from vaebook.publishing.images import HEAVY, compress, write_webp


def encode(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def decode(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")).astype(float)


@pytest.fixture
def picture() -> np.ndarray:
    """Un dégradé de gris, un disque de couleur aux bords fondus, et du vide."""
    y, x = np.mgrid[:200, :300]
    grey = np.repeat((x * 255 / 299)[..., None], 3, axis=-1)
    cover = np.clip(60 - np.hypot(x - 150, y - 100), 0, 1)[..., None]
    opacity = np.where(y[..., None] < 150, 255, 0)
    return np.dstack([grey * (1 - cover) + [200, 80, 40] * cover, opacity]).astype(np.uint8)


def test_a_figure_gets_lighter_and_looks_the_same(picture):
    stored = compress(encode(picture))
    assert len(stored) < 0.7 * len(encode(picture))
    shown, expected = decode(stored), picture.astype(float)
    visible = expected[..., 3] > 0
    assert np.abs(shown - expected)[visible].mean() < 2
    assert (shown[~visible][:, 3] == 0).all()


def test_a_figure_that_would_not_shrink_is_kept(picture):
    once = compress(encode(picture))
    assert len(compress(once)) <= len(once)
    dot = encode(np.zeros((1, 1, 4), dtype=np.uint8))
    assert compress(dot) == dot


def test_a_page_shows_the_same_pixels_in_fewer_bytes(picture, tmp_path):
    noise = np.random.default_rng(0).integers(0, 4, (200, 300, 1), dtype=np.uint8) * 60
    picture[..., :3] = np.where(picture[..., :3] > 100, noise, picture[..., :3])
    png = tmp_path / "figure.png"
    png.write_bytes(base64.b64decode(compress(encode(picture))))
    assert png.stat().st_size > HEAVY
    assert write_webp(png, tmp_path / "site") == "figure.webp"
    webp = tmp_path / "site" / "figure.webp"
    assert webp.stat().st_size < png.stat().st_size
    shown, expected = (np.asarray(Image.open(path).convert("RGBA")) for path in (webp, png))
    visible = expected[..., 3] > 0
    assert (shown[visible] == expected[visible]).all()
    assert (shown[~visible][:, 3] == 0).all()


def test_a_light_figure_stays_as_it_is(tmp_path):
    png = tmp_path / "point.png"
    png.write_bytes(base64.b64decode(encode(np.zeros((9, 9, 4), dtype=np.uint8))))
    assert write_webp(png, tmp_path) is None
    assert list(tmp_path.iterdir()) == [png]


def test_the_execution_stores_lighter_figures(book):
    from test_execution import add_cell, run

    from vaebook.publishing.stored import executed_cells

    add_cell(
        book,
        "import matplotlib; matplotlib.use('module://matplotlib_inline.backend_inline')\n"
        "import matplotlib.pyplot as plt\n"
        "plt.plot(range(9)); plt.show()",
    )
    outputs = executed_cells(run(book))[2].outputs
    [png] = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert Image.open(io.BytesIO(base64.b64decode(png))).mode == "P"
