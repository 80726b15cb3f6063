"""A verified artifact in, answers over HTTP out.

    fetch.py        a release in S3 -> a verified folder (a process of its own, before ``serve``)
    place.py        where the fetched folder is put together, and how it gets its name
    load.py         a folder -> a verified model, with its graphs in this process or without
    graphs.py       graphs in this process: arrays in, outputs out
    packing.py      linear layers in the processor's own layout
    workers/        graphs in processes of their own, supervised
    selfcheck.py    replays golden.json in every bucket of every worker; nothing is served before it passes
    encoding.py     texts -> rows of token ids -> arrays in a bucket's shape
    vocabulary.py   token ids -> words
    rows.py         what goes into a graph for one input, and what comes out
    requests.py     a JSON body -> inputs and parameters, or an error that names the field
    parameters.py   checks of parameters
    task.py         what a task is: from an input to rows, from outputs to an answer
    tasks.py        which tasks there are; embeddings and text classification
    token_classification.py, question_answering.py, fill_mask.py, multiple_choice.py: the others
    windows.py      a long context in overlapping pieces
    spans.py        which spans of a context answer best
    answering.py    what the server and the stock hooks share: bytes -> rows, outputs -> bytes
    batching.py     which waiting rows run together, in which bucket
    shapes.py       the same for graphs that fit any shape: no padding
    engine.py       the queue, batches in front of the workers, deadlines
    patience.py     how long an idle worker waits for company
    protocol.py     HTTP limits on top of uvicorn: sizes, slow clients, malformed framing
    application.py  ``GET /ping``, ``POST /invocations``, ``GET /metrics``
    server.py       listen, load, prove, answer, drain
    inference.py    the same loader and answers as the four hooks of AWS's stock container
    toolkit.py      what that container and its toolkit lack

Depends on ``artifact``, never on ``compile``; on ``tokenizers``, never on transformers. What it
costs: tokenisation must equal transformers' by test (tests/roundtrip), not by construction.
"""
