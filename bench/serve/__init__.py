"""Serving, measured against its peers: ``python -m bench.serve``, and docs/serving-performance.md.

``__main__`` runs the rounds; ``servers`` says how each server is started, ``measure`` takes one
figure, ``load`` is the client, ``processes`` counts what a server's processes use, ``limit`` is what
the model alone can do, ``figures`` and ``goals`` turn the points into ratios. ``peers/`` runs in the
peers' own environments, which ``setup`` makes. ``accelerator``, ``growth`` and ``single`` measure what has
no peer: simulated NeuronCores, how figures grow, and what one request or one start costs.
"""
