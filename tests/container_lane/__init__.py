"""The second lane: the container side's tests on the container's own versions.

``python -m tests.container_lane`` makes ``.venv-container`` with Python 3.10, torch 1.13.1 and
transformers 4.36.2 and runs the tests of ``artifact``, ``compile`` and ``inference_code`` in it.
Where no Python 3.10 is found it says so and ends with 0: the lane is then unproven on this
machine, which its last line states.
"""
