"""Les équations des chapitres, évaluées des deux côtés.

Un paquet, pour que ``test_evaluation.py`` n'y soit pas pris pour celui de ``tests/unit/``.
"""
