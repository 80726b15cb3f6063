"""A verified artifact in, answers over HTTP out.

    fetch.py        a release in S3 -> a verified folder (a process of its own, before ``serve``)
    place.py        where the fetched folder is put together, and how it gets its name
    load.py         a folder -> a verified model, with its graphs in this process or without
    graphs.py       graphs in this process: arrays in, outputs out
    packing.py      linear layers in the processor's own layout
    workers/        graphs in processes of their own, supervised
    selfcheck.py    replays golden.json in every bucket of every worker; nothing is served before it passes
    encoding.py     texts -> rows of token ids -> arrays in a bucket's shape
    word_memory.py  the tokens of words that came before
    vocabulary.py   token ids -> words
    sentences.py    a text with many other words in its place
    rows.py         what goes into a graph for one input, and what comes out
    media.py        Content-Type and Accept -> the form of a body, the form of its answer
    bodies.py       JSON, JSON Lines or CSV -> JSON values, one a request (strict_json.py: one value)
    requests.py     a JSON value -> inputs and parameters, or an error that names the field
    parameters.py   parameters: meaning, JSON Schema and check side by side
    task.py         what a task is: from an input to rows, from outputs to an answer
    tasks.py        which tasks there are; each has a module:
    embeddings.py, text_classification.py, token_classification.py, question_answering.py,
    fill_mask.py, multiple_choice.py, translation.py
    windows.py      a long text in overlapping pieces
    spans.py        which spans of a context answer best
    forms.py        answers -> JSON, JSON Lines, CSV, a NumPy array
    answering.py    what the server and the stock hooks share: bytes -> rows, outputs -> bytes
    allowance.py    how large an answer may become, and until when it may be written
    openai.py       the same for OpenAI's embeddings
    dialects.py     which route speaks which of them
    openapi.py      the OpenAPI document, out of the tasks
    batching.py     which waiting rows run together, in which bucket
    shapes.py       the same for graphs that fit any shape: no padding
    engine.py       the queue, batches in front of the workers, deadlines
    lanes.py        which workers get batches, and which are checked because theirs fail
    suspicion.py    when that is
    patience.py     how long an idle worker waits for company
    protocol.py     a connection's bytes -> exchanges; limits: sizes, slow clients, malformed framing
    exchange.py     one request and its answer
    timer.py        a connection's deadline
    lingering.py    close a connection so that its last answer survives
    http_server.py  accept, drain, close
    trail.py        when a request went through which stage
    histogram.py, metrics.py  what is counted of a model
    exposition.py   that as Prometheus' page
    emf.py          that as lines for CloudWatch
    build.py        which artifact and versions run, as labels
    trace.py        W3C's and AWS's trace context, read and passed on
    identity.py     the ids of a request, out of its headers
    log.py          JSON lines; a line for each request
    log_writer.py   written by a thread, so that nobody waits for who reads them
    host/           watches the chips of an Inf1 instance (a process of its own, beside ``serve``)
    aside.py        long work beside the event loop, in few threads, and no more than they get done soon
    recorder.py     tells metrics and log of a request
    served.py       which artifacts a server serves
    service.py      one artifact behind the port: state, workers, queue, limits, metrics
    application.py  ``GET /ping``, ``POST /invocations`` and the other dialects' routes, ``GET /metrics``
    server.py       listen, load, prove, answer, drain
    inference.py    the same loader and answers as the four hooks of AWS's stock container
    toolkit.py      what that container and its toolkit lack

Depends on ``artifact``, never on ``compile``; on ``tokenizers``, never on transformers. What it
costs: tokenisation must equal transformers' by test (tests/roundtrip), not by construction.
"""
