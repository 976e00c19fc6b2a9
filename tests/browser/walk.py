"""Ce que les essais du site ont en commun : les pages, les outils, ce qui se voit et ce qui se dit."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
)

# Le texte visible ou dit, hors du code, des formules, de l'anglais et des titres répétés autour de l'article.
SAID = """() => {
  const apart = 'script, style, noscript, pre, code, kbd, mjx-container, [lang=en], .citation, .math, svg, '
    + 'title, .bd-links a, .page-toc a, .prev-next-title';
  const found = [];
  for (const element of document.querySelectorAll('*')) {
    if (element.closest(apart)) continue;
    for (const name of ['title', 'aria-label', 'alt', 'placeholder', 'data-tooltip', 'data-bs-title'])
      if (element.getAttribute(name) && !element.closest('a.reference.internal'))
        found.push([Boolean(element.closest('article')), element.getAttribute(name)]);
    for (const node of element.childNodes)
      if (node.nodeType === 3 && node.data.trim())
        found.push([Boolean(element.closest('article')), node.data.trim()]);
  }
  return found;
}"""

READY = """async () => {
  await window.composed;
  await new Promise(requestAnimationFrame);
}"""


def pages(site: Path) -> list[Path]:
    """Les pages du site, gabarits du thème exceptés."""
    return sorted(page for page in site.rglob("*.html") if "_static" not in page.parts)


class _Handler(SimpleHTTPRequestHandler):
    """Comme un vrai hébergeur : compressé, gardé un moment, plusieurs fichiers par connexion."""

    protocol_version = "HTTP/1.1"

    def send_head(self):  # type: ignore[no-untyped-def]
        path = Path(self.translate_path(self.path))
        if path.suffix not in (".html", ".js", ".css", ".svg") or not path.is_file():
            return super().send_head()
        content = gzip.compress(path.read_bytes(), 6)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "max-age=600")
        self.end_headers()
        self.wfile.write(content)
        return None

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Sert le site sur cette machine ; donne son adresse."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
