"""A verified artifact in, answers over HTTP out.

    fetch.py        a release in S3 -> a verified folder (a process of its own, before ``serve``)
    place.py        where the fetched folder is put together, and how it gets its name
    load.py         a folder -> one graph per bucket, weights once
    selfcheck.py    replays golden.json in every bucket; nothing is served before it passes
    encoding.py     texts -> rows of token ids -> arrays in a bucket's shape
    vocabulary.py   token ids -> words
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
    openai.py       the same for OpenAI's embeddings
    dialects.py     which route speaks which of them
    openapi.py      the OpenAPI document, out of the tasks
    batching.py     which waiting rows run together, in which bucket
    engine.py       the queue, the inference thread, deadlines
    protocol.py     HTTP limits on top of uvicorn: sizes, slow clients, malformed framing
    application.py  ``GET /ping``, ``POST /invocations`` and the other dialects' routes, ``GET /metrics``
    server.py       listen, load, prove, answer, drain
    inference.py    the same loader and answers as the four hooks of AWS's stock container

Depends on ``artifact``, never on ``compile``; on ``tokenizers``, never on transformers. What it
costs: tokenisation must equal transformers' by test (tests/roundtrip), not by construction.
"""
