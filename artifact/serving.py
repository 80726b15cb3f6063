"""Names and numbers that the server, the stacks and the AWS on this machine agree on.

Source of the platform's figures: SageMaker developer guide, "Use your own inference code".
"""

from __future__ import annotations

PORT = 8080
PING = "/ping"
INVOCATIONS = "/invocations"
HUB = "/"
"""Where clients of Hugging Face's inference API post: answers are nested as that API does it."""
EMBEDDINGS = "/v1/embeddings"
"""OpenAI's route; there only if ENV_OPENAI says so."""
METRICS = "/metrics"
MODEL_DIR = "/opt/ml/model"

MAX_BODY_BYTES = 6_291_456
MAX_ANSWERS = 16_384
"""What ``top_k`` may make of one request: words of all its masks, or answers to all its questions."""
MAX_ANSWER_BYTES = 67_108_864
"""Body of an answer: a few kilobytes can ask for gigabytes. Ten times what an endpoint passes on, as
fleets and Batch Transform take more; what is written at a time must fit into memory beside a model."""
PING_TIMEOUT_SECONDS = 2.0
ANSWER_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 30.0
KEEP_ALIVE_SECONDS = 75
"""Longer than the load balancer's idle time-out, or it would reuse what the server just closed."""
DRAIN_SECONDS = 25.0

ENV_DIGEST = "TRACESHIP_DIGEST"
"""SHA-256 of the manifest that the stack was told to trust; the server refuses any other."""

ENV_RELEASE = "TRACESHIP_RELEASE"
"""``s3://bucket/releases/name/digest`` from which ``python -m inference_code fetch`` fetches."""

ENV_MODEL_DIR = "TRACESHIP_MODEL_DIR"
"""Where the artifact lies (default /opt/ml/model)."""

ENV_PORT = "SAGEMAKER_BIND_TO_PORT"
"""The platform's own variable for the port (default 8080)."""

ENV_HOST = "TRACESHIP_HOST"
"""Address to listen on (default 0.0.0.0 in the image, 127.0.0.1 from the command)."""

SERVE_ENV_FILE = "/etc/traceship/serve.env"
"""``KEY=value`` lines that an instance's user data writes for its systemd unit."""

ENV_BATCH_WINDOW_MS = "TRACESHIP_BATCH_WINDOW_MS"
ENV_DEADLINE_SECONDS = "TRACESHIP_DEADLINE_SECONDS"
ENV_QUEUE_LIMIT = "TRACESHIP_QUEUE_LIMIT"
"""``[serve]`` of the settings, as the stacks hand it to the server (defaults 2, 20, 256)."""

ENV_WORKERS = "TRACESHIP_WORKERS"
"""Processes with graphs (default: one for each NeuronCore group, or for each processor)."""

ENV_MODELS = "TRACESHIP_MODELS"
"""A file that names several artifacts to serve (``inference_code/served.py``), instead of one folder."""

MODELS = "/models"
"""``/models/NAME/ping`` and the like reach one of several models; SageMaker's multi-model platform
calls ``/models/NAME/invoke`` (SageMaker developer guide, "Build your own container for multi-model")."""
TARGET_MODEL = "X-Amzn-SageMaker-Target-Model"
"""Header that names a model instead of the path; clients of SageMaker send it for ``TargetModel``."""

ENV_OPENAI = "TRACESHIP_OPENAI"
"""``1``: answer POST /v1/embeddings, too, if the artifact makes embeddings (default 0)."""

ENV_PUBLIC_KEYS = "TRACESHIP_PUBLIC_KEYS"
"""Pinned public keys, one line each (``artifact/keys.py``) with commas between them; one of them must
have signed the manifest."""

ENV_SIGNATURE = "TRACESHIP_SIGNATURE"
"""The release's envelope in base64, as the lock carries it; unset: the one beside the artifact's folder."""

MAX_ENV_BYTES = 1024
"""Longest value of a container's environment (SageMaker API reference, ContainerDefinition)."""

ENV_LOG = "TRACESHIP_LOG"
"""Which requests have a line in the log: ``all`` (default), ``errors``, or ``1/N`` of those answered well."""

ENV_INSTANCE = "TRACESHIP_INSTANCE"
"""Name of the machine that a process runs on, such as an EC2 instance's id: each line of its log has it."""

ENV_EMF = "TRACESHIP_EMF"
"""Seconds between two lines of metrics for CloudWatch in the log, up to 60; 0 (default): none."""

ENV_SERVICE = "TRACESHIP_SERVICE"
"""The fleet or endpoint that a server is a replica of: a dimension of those metrics."""

METRICS_NAMESPACE = "traceship"
METRICS_DIMENSIONS = ("Service", "Model")
"""Where CloudWatch keeps them: what the server writes and the stacks' dashboards read."""

DEFAULT_MODEL = "default"
"""Name of the one model of a server that was given no names."""

ENV_BUCKET_OWNER = "TRACESHIP_BUCKET_OWNER"
"""Twelve-digit account that must own the release's bucket (S3's ExpectedBucketOwner)."""
