"""The compile stage: a transformers model in, a verified artifact folder out.

Stages, in the order of the data (``pipeline.py`` calls them, ``__main__.py`` calls it):

    source.py         model source -> local folder, identity, digest of every file that is read
                      (sources/ knows the places: a folder, the Hub, S3, an installed package)
    preflight.py      task, architecture, buckets and target fit the model's config (no torch)
    buckets.py        one fresh child process a bucket, several at once (children.py, memory.py);
                      a bucket that fails can leave its reproduction (repro.py)
    trace.py          the child: model -> graph bytes (backends/, wrapper.py)
    torchscript.py    TorchScript archive -> the same bytes for the same graph, always
    parity.py         another child compares the saved graphs with the untraced model
                      (comparison.py measures, samples.py and texts.json hold what is asked,
                      golden.py writes the answers that the server replays,
                      moses.py packs tokenizers that have no tokenizer.json); only
                      ``parity.prove`` makes a ``ProvenModel``
    package.py        ``ProvenModel`` -> artifact folder, read back before it gets its name

Before a compile, ``planning.py`` chooses buckets for measured lengths; ``cache/`` keeps finished
artifacts by what went into them, in front of the runners.
Beside the path: ``export.py`` (with ``standalone.py``, its child, and ``guarded.py``) writes a bucket
as one TorchScript file, ``report.py`` draws what was proven, ``stock.py`` (with ``wheels.py``) makes the
archive for AWS's own container.

The parent process never imports torch: a child that is killed for memory or by a crash in the
compiler leaves a parent that can say so and clean up; ``out_of_memory.py`` tells the first from all
else, and a job of AWS Batch then asks for more (``batch/attempts.py``). ``runners.py`` starts the same
entry point here or in the Inf1 container.

What it costs: every child pays the import of torch and transformers (seconds), and the model is
loaded once a bucket. Write ``from compile.trace import …``; ``import compile`` hides a built-in.
"""
