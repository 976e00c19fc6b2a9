"""Le côté de l'auteur : exécuter les chapitres, ranger leurs sorties, savoir si elles sont encore valables.

Le cœur de ``vaebook`` n'importe jamais ce sous-paquet, et ce sous-paquet n'importe jamais ``torch``.
"""
