"""vaebook : les auto-encodeurs variationnels, du livre au code.

Importer ``vaebook`` ne charge rien de lourd : ``torch`` n'arrive qu'avec les modules qui s'en servent
(``vaebook.models``, ``vaebook.objectives``…).
"""

from importlib.metadata import version

__version__ = version("vaebook")
