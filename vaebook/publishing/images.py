"""Des figures légères : sur une palette dans les carnets, en WebP sans perte dans les pages."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

# Des 100 de libimagequant : l'écart moyen reste d'un ou deux niveaux sur 255, celui des images au-dessous.
QUALITY = 90
# En deçà de ces octets, récrire une figure ferait gagner moins qu'une requête.
HEAVY = 10_000


def compress(png: str) -> str:
    """La même image PNG, en base 64, sur une palette d'au plus 256 couleurs, si elle en devient plus légère.

    Sans tramage : il alourdirait les aplats, et ferait du bruit sur les niveaux de gris.
    """
    import imagequant  # type: ignore[import-untyped]  # l'exécution seule en a besoin, non la construction

    original = base64.b64decode(png)
    picture = Image.open(io.BytesIO(original)).convert("RGBA")
    pixels, palette = imagequant.quantize_raw_rgba_bytes(
        picture.tobytes(), *picture.size, dithering_level=0.0, max_quality=QUALITY
    )
    indexed = Image.frombytes("P", picture.size, pixels)
    indexed.putpalette(palette, rawmode="RGBA")
    buffer = io.BytesIO()
    indexed.save(buffer, format="PNG", optimize=True)
    smaller = min(original, buffer.getvalue(), key=len)
    return base64.b64encode(smaller).decode("ascii")


def write_webp(png: Path, folder: Path) -> str | None:
    """Écrit la même image en WebP sans perte dans un dossier, si elle en devient plus légère.

    Renvoie :
        le nom du fichier, ou rien : PNG déjà léger, ou plus léger que le WebP.
    """
    target = folder / f"{png.stem}.webp"
    known = png.stat()
    if png.suffix != ".png" or known.st_size < HEAVY:
        return None
    if not (target.exists() and target.stat().st_mtime >= known.st_mtime):
        buffer = io.BytesIO()
        # Plus d'effort coûterait soixante fois plus de temps pour un vingtième d'octets.
        Image.open(png).save(buffer, format="WEBP", lossless=True, method=3, quality=50)
        if buffer.tell() >= known.st_size:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        target.write_bytes(buffer.getvalue())
    return target.name
