"""manifest.json as types. Its canonical bytes' SHA-256 is the artifact's identity.

Written by ``compile/package.py``; read by ``verify.py`` on every machine that loads the
artifact. Nothing here depends on time, place, user or machine name.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

SCHEMA: Literal["traceship.artifact/1"] = "traceship.artifact/1"
MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.sha256"
WEIGHTS = "weights.safetensors"
GOLDEN = "golden.json"
PARITY = "parity.json"
MODEL_CONFIG = "config.json"
TOKENIZER = "tokenizer/tokenizer.json"

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Positive = Annotated[int, msgspec.Meta(ge=1)]
NonNegative = Annotated[int, msgspec.Meta(ge=0)]
Target = Literal["cpu", "inf1"]
Task = Literal[
    "feature-extraction",
    "text-classification",
    "token-classification",
    "question-answering",
    "fill-mask",
    "multiple-choice",
    "translation",
]
Pooling = Literal["none", "cls", "mean"]
Support = Literal["listed", "generic"]
Tier = Literal["cpu", "neuron-no-cast", "neuron-default"]
Casting = Literal["all", "all-fp16", "matmult", "matmult-bf16", "matmult-fp16"]
"""Which float32 operators neuron-cc rounds, and to what; the device has no float32 matmul at all."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value of the contract: immutable, keyword-only, unknown keys refused."""


class File(Record, frozen=True, kw_only=True):
    """One file of the folder. ``path`` is relative, with ``/``; ``size`` in bytes."""

    path: str
    size: NonNegative
    sha256: Sha256


class Source(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Where the model came from. ``files`` holds the digest of every file that was read.

    ``remote_code``: the model's classes are Python files of the checkpoint, which are among ``files``;
    the user allowed them to run while it was compiled. False is not spelt out, as in manifests from
    before there was this key.
    """

    id: str
    revision: str | None
    files: tuple[File, ...]
    remote_code: bool = False


class Tensor(Record, frozen=True, kw_only=True):
    """One positional input or output. ``shape`` mixes sizes with "batch" and "length".

    Outputs by task: feature-extraction ``last_hidden_state`` (batch, length, hidden) or
    ``sentence_embedding`` (batch, hidden); text-classification ``logits`` (batch, labels);
    token-classification ``logits`` (batch, length, labels); question-answering ``start_logits``
    and ``end_logits`` (batch, length); fill-mask ``logits`` (batch, length, vocabulary);
    multiple-choice ``logits`` (batch, choices); translation ``last_hidden_state``, the encoder's.
    """

    name: str
    dtype: Literal["int64", "float32"]
    shape: tuple[str | int, ...]


class Bucket(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A static shape with its graph. Rows of ``batch``, tokens of ``length``.

    ``decoder``: the second graph of a translation, whose first one is the encoder.
    """

    batch: Positive
    length: Positive
    path: str
    decoder: str | None = None


class Generation(Record, frozen=True, kw_only=True):
    """How a translation is searched for; every setting, so that no library's default decides.

    The encoder's graph gives ``last_hidden_state`` (batch, length, hidden). The decoder's takes, in
    this order: ``decoder_input_ids`` (batch x num_beams, max_length) int64, the encoder's states
    and ``attention_mask``, each row repeated ``num_beams`` times, and ``step`` (1,) int64; it gives
    the logits (batch x num_beams, vocabulary) of the token after position ``step``.

    ``max_length`` counts the start token. ``rule``: when a beam search with ``early_stopping``
    false ends, hf4 as transformers 4 does it, hf5 as transformers 5 (``artifact/search.py``).
    """

    max_length: Positive
    num_beams: Positive
    length_penalty: float
    early_stopping: bool
    decoder_start_token_id: NonNegative
    eos_token_id: NonNegative
    pad_token_id: NonNegative
    forced_eos_token_id: NonNegative | None
    bad_token_ids: tuple[NonNegative, ...]
    rule: Literal["hf4", "hf5"]


class Padding(Record, frozen=True, kw_only=True):
    """How a row is filled up to the bucket, and what happens to a longer one.

    ``truncate`` true: cut to the largest bucket; false: refuse with the limit.
    """

    side: Literal["right"]
    token_id: NonNegative
    token_type_id: NonNegative
    truncate: bool


class Embedding(Record, frozen=True, kw_only=True):
    """Pooling done inside the graph (over the mask); ``normalize`` is L2 over the last axis."""

    pooling: Pooling
    normalize: bool


class Waiver(Record, frozen=True, kw_only=True):
    """A gate that this artifact did not pass and why somebody accepted that."""

    gate: str
    reason: str


class Parity(Record, frozen=True, kw_only=True):
    """The verdict behind "verified". ``tolerance`` is the largest absolute difference allowed."""

    tier: Tier
    tolerance: float
    compared: Positive


class Coverage(Record, frozen=True, kw_only=True):
    """Which operators run on the device (inf1). ``percent`` of operators, 0 to 100."""

    percent: float
    compiled: NonNegative
    total: Positive
    partitions: NonNegative
    fallback: tuple[str, ...]


class Compiler(Record, frozen=True, kw_only=True):
    """What neuron-cc was asked and what its coverage was held to (inf1).

    ``pipeline_cores`` is the number of NeuronCores that one copy of the model is spread over.
    ``dynamic_batch``: the graphs take any number of rows, the bucket's batch at a time.
    ``separate_weights``: asked for; it happens by itself above 1.9 GB. ``min_coverage`` in percent;
    ``max_partitions`` ``None`` and an empty ``allowed_fallback`` are no limit.
    """

    casting: Casting
    fast_relayout: bool
    optimization: Positive | None
    pipeline_cores: Positive
    dynamic_batch: bool
    separate_weights: bool
    min_coverage: float
    max_partitions: Positive | None
    allowed_fallback: tuple[str, ...]


class BuiltWith(Record, frozen=True, kw_only=True):
    """The version set and instruction set for which the identity is reproducible."""

    torch: str
    transformers: str
    tokenizers: str
    torch_neuron: str | None
    neuron_cc: str | None
    cpu: str


class Requires(Record, frozen=True, kw_only=True):
    """What a machine must offer to load this. ``memory_bytes`` of host memory for one copy."""

    target: Target
    instance_families: tuple[str, ...]
    torch: str
    torch_neuron: str | None
    neuron_driver: str | None
    memory_bytes: Positive


class Manifest(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Everything the server, the stacks and an auditor need to know of an artifact.

    A key with a default is left out where it has that value, so that manifests from before there was
    the key stay what they are. ``generic``: the architecture is in no table, only the gates speak for it.
    ``choices`` (multiple-choice): how many candidates a row holds; inputs are then of shape
    (batch, choices, length). ``mask_token_id`` (fill-mask): the id whose place is filled.
    ``adopted``: somebody else traced; of each bucket the digest of the file that was brought.
    ``compiler_args`` is the whole command line that ``compiler`` and raw arguments amounted to.
    """

    schema: Literal["traceship.artifact/1"]
    source: Source
    task: Task
    architecture: str
    labels: tuple[str, ...]
    problem_type: Literal["single_label_classification", "multi_label_classification", "regression"] | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    embedding: Embedding | None
    generic: bool = False
    choices: Positive | None = None
    adopted: tuple[Sha256, ...] = ()
    mask_token_id: NonNegative | None = None
    generation: Generation | None = None
    buckets: tuple[Bucket, ...]
    padding: Padding
    tokenizer: str
    weights: str | None
    compiler_args: tuple[str, ...]
    compiler: Compiler | None = None
    coverage: Coverage | None
    parity: Parity
    waivers: tuple[Waiver, ...]
    built_with: BuiltWith
    requires: Requires
    files: tuple[File, ...]

    @property
    def max_length(self) -> int:
        """Tokens of the longest bucket."""
        return max(bucket.length for bucket in self.buckets)


def bucket_name(batch: int, length: int) -> str:
    """The file stem and the spoken name of a bucket, such as ``b8_s128``."""
    return f"b{batch}_s{length}"


def graph_path(batch: int, length: int) -> str:
    """Where a bucket's TorchScript file lies in the artifact."""
    return f"graphs/{bucket_name(batch, length)}.pt"


def decoder_path(batch: int, length: int) -> str:
    """Where a translation bucket's second graph lies."""
    return f"graphs/{bucket_name(batch, length)}.decoder.pt"
