"""traceship.toml in, validated settings out.

    model.py   every section and key, with its default, unit and limits
    load.py    reads the file, applies a stage, names the nearest valid key for a misspelt one

Read by ``infra``, ``fleet`` and ``cli``. The compile stage and the server never see it: they
get plain arguments, so that they run in a container without this file.
"""
