"""Le site autour des pages : l'en-tête, l'interface en français, la page d'erreur, le plan du site."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.jinja2glue import BuiltinTemplateLoader
from sphinx.util.images import get_image_size

from vaebook.publishing import french
from vaebook.publishing.images import write_webp
from vaebook.publishing.repository import Repository

# Ce que le thème ajoute et dont le livre n'a pas l'usage : un mégaoctet et demi de script pour vingt icônes,
# l'index de la recherche dans toutes les pages, des emplacements de publicité et d'annonces, des doublons,
# des scripts demandés avant les feuilles de style.
_USELESS = re.compile(
    r"""<script[^>]*scripts/fontawesome\.js[^>]*></script>
    |<link\ rel="preload"\ as="script"[^>]*>
    |<meta\ name="viewport"\ content="width=device-width,\ initial-scale=1"\ ?/>
    |<meta\ name="docsearch:[^>]*>
    |<div\ class="sidebar-primary-items__end.*?id="ethical-ad-placement".*?</div>\s*</div>\s*</div>
    |<div\ id="jb-print-docs-body".*?(?=<div\ id="searchbox")
    |<div\ class="pst-async-banner-revealer.*?</aside>\s*</div>
    |<footer\ class="bd-footer">\s*</footer>
    |<!--.*?-->""",
    re.VERBOSE | re.DOTALL,
)
_SEARCH = re.compile(r'<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>')
# Les scripts qui peuvent attendre la page ; ceux qu'elle contient emploient documentation_options.js.
_LATER = re.compile(r"<script(?= [^>]*src=)(?![^>]*(?:defer|documentation_options))")
_BUTTON = re.compile(r"<button\b([^>]*)>")
_TEXT = re.compile(r">([^<>]*[;:!?«»][^<>]*)<")
_FIGURE = re.compile(r'(?P<tag><img [^>]*?src="[^"]*_images/(?P<name>[^"/]+)"[^>]*?)\s*/?>')
_WORDS_PER_MINUTE = 180


class Pages(BuiltinTemplateLoader):
    """Les gabarits du thème, et ce qu'il reste à corriger dans les pages qu'ils donnent."""

    def render(self, template: str, context: dict[str, Any]) -> str:  # type: ignore[override]
        page = super().render(template, context)
        return polish(page, context.get("pagename", "")) if template.endswith(".html") else page


def polish(page: str, name: str) -> str:
    """La page sans ce qui est inutile, et dont l'interface est française et accessible."""
    page = _USELESS.sub("", page)
    page = _BUTTON.sub(_accessible, page)
    if name != "search":
        page = _LATER.sub("<script defer", _SEARCH.sub("", page))
    start, article, rest = page.partition('<article class="bd-article">')
    middle, end, after = rest.partition("</article>")
    # Les entrées de la bibliographie sont dans une liste : ARIA veut alors qu'elles en soient les éléments.
    middle = middle.replace('role="doc-biblioentry"', 'role="listitem"')
    return french_interface(start) + article + middle + end + french_interface(after)


def _accessible(found: re.Match[str]) -> str:
    """Un bouton qui a un type, et un nom même quand il n'a qu'une infobulle."""
    attributes = found[1] if "type=" in found[1] else f' type="button"{found[1]}'
    if "aria-label=" not in attributes and (title := re.search(r'\stitle="([^"]*)"', attributes)):
        attributes += f' aria-label="{title[1]}"'
    if "search-button-field" in attributes:  # ce bouton porte un texte, qui est son nom
        attributes = re.sub(r'\saria-label="[^"]*"', "", attributes)
    return f"<button{attributes}>"


def french_interface(part: str) -> str:
    """Ce qui entoure l'article, traduit et espacé."""
    for english, translation in french.INTERFACE.items():
        part = part.replace(english, translation)
    # Le bloc latéral est un repère de navigation ; son titre et sa recherche en font partie.
    sidebar = 'id="pst-primary-sidebar"'
    part = part.replace(sidebar, f'{sidebar} role="complementary" aria-label="Livre"')
    scripts = re.split(r"(<(script|style|kbd).*?</\2>)", part, flags=re.DOTALL)
    return "".join(
        piece if rank % 3 == 1 else _TEXT.sub(lambda found: f">{french.spaced(found[1])}<", piece)
        for rank, piece in enumerate(scripts)
        if rank % 3 != 2
    )


def describe(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Décrit la page dans son en-tête, et dit sous le titre le temps de lecture."""
    site = Repository.declared(Path(app.srcdir)).site
    title = re.sub("<[^>]*>", "", context.get("title", ""))
    written = (context.get("meta") or {}).get("description")
    description = written or _opening(doctree) or app.config.html_title
    address = site + app.builder.get_target_uri(pagename)
    tags = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": html.unescape(title),
        "og:description": description,
        "og:url": address,
        "og:locale": "fr_FR",
        "og:image": f"{site}_static/carte.png",
        "og:image:alt": "Le logo du livre et son titre",
        "og:image:width": "1200",
        "og:image:height": "630",
    }
    lines = [f'<meta property="{name}" content="{html.escape(text)}" />' for name, text in tags.items()]
    lines.append('<meta name="twitter:card" content="summary_large_image" />')
    lines.append(f'<meta name="description" content="{html.escape(description)}" />')
    context["metatags"] = "\n".join([context.get("metatags", ""), *lines])
    if any(button.get("label") == "launch-buttons" for button in context["header_buttons"]):
        note = french.spaced(f"Temps de lecture : {reading_time(doctree)}{french.NBSP}min environ")
        context["body"] = context["body"].replace("</h1>", f'</h1>\n<p class="lecture">{note}</p>', 1)
    sources = {name: Path(app.srcdir, path) for path, name in app.builder.images.items()}
    context["body"] = light_images(context.get("body", ""), sources, Path(app.outdir, "_images"))


def light_images(body: str, sources: Mapping[str, Path], folder: Path) -> str:
    """Donne leur taille aux figures, pour que le texte ne bouge pas, et les rend plus légères.

    Toutes, sauf la première, ne se chargent qu'à leur approche.

    Paramètres :
        body : le HTML d'un article.
        sources : nom dans le site → fichier.
        folder : le dossier des images du site, où écrire les figures allégées.
    """
    seen = 0

    def lighten(found: re.Match[str]) -> str:
        nonlocal seen
        source = sources.get(html.unescape(found["name"]))
        if source is None or (known := get_image_size(str(source))) is None:
            return found[0]
        seen += 1
        tag = found["tag"]
        if lighter := write_webp(source, folder):
            tag = tag.replace(found["name"], html.escape(lighter))
        later = ' loading="lazy" decoding="async"' if seen > 1 else ""
        return f'{tag} width="{known[0]}" height="{known[1]}"{later} />'

    return _FIGURE.sub(lighten, body)


def reading_time(document: nodes.document) -> int:
    """Le temps de lecture de la prose d'une page, en minutes, arrondi à cinq au-delà de dix."""
    words = 0
    for text in document.findall(nodes.Text):
        if not isinstance(text.parent, (nodes.literal_block, nodes.raw, nodes.math_block)):
            words += len(text.astext().split())
    # Une formule centrée se lit comme une quinzaine de mots.
    words += 15 * len(list(document.findall(nodes.math_block)))
    minutes = round(words / _WORDS_PER_MINUTE)
    return minutes if minutes < 10 else 5 * round(minutes / 5)


def _opening(document: nodes.document | None) -> str:
    """Les premiers mots d'une page, environ 160 signes ; un paragraphe à formules n'en donne pas."""
    text = ""
    for paragraph in document.findall(nodes.paragraph) if document is not None else ():
        if not any(paragraph.findall(nodes.math)):
            text = f"{text} {paragraph.astext()}".strip()
        if len(text) > 160:
            break
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:180].rpartition(' ')[0].rstrip(' ,;:')}…"


_NOT_FOUND = """<!DOCTYPE html>
<html lang="fr">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1.0">
<meta name="robots" content="noindex">
<title>Page introuvable – {title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto; padding: 0 1rem; }}
</style>
</head>
<body>
<main>
<h1>Page introuvable</h1>
<p>Cette page n’existe pas, ou n’existe plus.</p>
<p><a href="{site}">Aller à la première page</a> ou
<a href="{site}search.html">chercher dans le livre</a>.</p>
</main>
</body>
</html>
"""


def write_extras(app: Sphinx, exception: Exception | None) -> None:
    """Écrit la page d'erreur et le plan du site, et traduit les scripts des greffons."""
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    site = Repository.declared(Path(app.srcdir)).site
    page = _NOT_FOUND.format(title=html.escape(app.config.html_title), site=site)
    (out / "404.html").write_text(page, encoding="utf-8")
    pages = sorted(app.builder.get_target_uri(name) for name in app.env.found_docs)
    urls = "".join(f"<url><loc>{html.escape(site + page)}</loc></url>\n" for page in pages)
    schema = "http://www.sitemaps.org/schemas/sitemap/0.9"
    plan = f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="{schema}">\n{urls}</urlset>\n'
    (out / "sitemap.xml").write_text(plan, encoding="utf-8")
    for name, words in french.SCRIPTS.items():
        script = out / "_static" / name
        text = script.read_text(encoding="utf-8")
        for english, translation in words.items():
            text = text.replace(english, translation)
        script.write_text(text, encoding="utf-8")
    for useless in ("scripts/fontawesome.js", "scripts/fontawesome.js.map"):
        (out / "_static" / useless).unlink(missing_ok=True)
