"""The machine image: what is put into it, and how it is tried before it may be used.

    build.sh      on a machine of the parent image: driver, kernel hold, engine, agents, serving image
    validate.sh   on the same machine before the snapshot
    test.sh       on a new machine of the snapshot: devices, driver, and the release's golden set
    components.py the three as Image Builder's documents

Each script gets its constants as exported variables above it and ends with a line that says why it failed.
They hold no double braces, which Image Builder would take for its own references.
"""
