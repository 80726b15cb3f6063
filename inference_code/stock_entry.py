"""``code/inference.py`` of the archive for AWS's stock container: the module that its toolkit imports.

Not for import here: the packages beside it exist in the archive only (``compile/stock.py``).
"""

# ruff: noqa: E402 - what is imported later lies in the folder that is added first

from __future__ import annotations

from pathlib import Path

from inference_code.toolkit import add_packages, shield

add_packages(Path(__file__).resolve().parent / "packages")

from sagemaker_inference import content_types
from sagemaker_inference.transformer import Transformer

from inference_code.inference import input_fn, model_fn, output_fn, predict_fn

shield(content_types, Transformer)

__all__ = ["input_fn", "model_fn", "output_fn", "predict_fn"]
