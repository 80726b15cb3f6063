"""Finished compiles, kept by what went into them. A hit is a whole, proven artifact folder.

    tensors.py       weights file -> digest of each tensor, without torch
    remembered.py    digests of files that have not changed since they were last hashed
    environment.py   versions, instruction set and our own code: what else shapes the bytes
    key.py           request + model source + environment -> canonical JSON, whose SHA-256 is the key
    entry.py         one kept compile as a folder: artifact, key and result; checked whenever it is read
    locks.py         one process at a time works on a key
    local.py         entries on this machine, least recently used out first
    shared.py        entries in S3, for a team or a build farm
    difference.py    which fields keep a request from an entry that is there
    through.py       the way through all of it: find, else compile and keep

Nothing here imports torch: a hit costs a hash of the model and a copy of the artifact.

What it costs: an artifact lies on the disk twice, in the cache and where it was asked for, because
a link would let an edit of the one damage the other. A cache in S3 is trusted as much as the
machine that compiles: whoever may write to it decides what its readers publish. That is so
because an entry proves that it is undamaged, not who made it.
"""
