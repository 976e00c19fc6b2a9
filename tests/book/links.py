"""Les liens internes d'un site construit, vérifiés sans réseau."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup


@cache
def soup(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def broken_links(site: Path) -> Iterator[str]:
    """Les href et les src qui ne mènent pas à un fichier du site, ou à une ancre de ce fichier."""
    soup.cache_clear()
    # Le thème laisse un gabarit, qui n'est pas une page, dans _static.
    for page in sorted(page for page in site.rglob("*.html") if "_static" not in page.parts):
        for tag in soup(page).find_all(lambda tag: tag.has_attr("href") or tag.has_attr("src")):
            link = tag.get("href", tag.get("src"))
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            if not target.is_file() or (
                anchor and target.suffix == ".html" and not soup(target).find(id=anchor)
            ):
                yield f"{page.relative_to(site)} : {link}"
