"""The contract between the half that compiles and the half that serves.

    errors.py     what every error of traceship looks like: what, why, fix, exit code
    canonical.py  the one way to write and read our JSON files
    manifest.py   manifest.json as types (schema ``traceship.artifact/1``)
    verify.py     a folder in, a trusted artifact out, or an error that names the file
    packed.py     the same for model.tar.gz, and what that looks like
    listing.py, folder.py, sealed.py, refusals.py   what both go by: the list of files, reading
                  without following a link, memory that cannot change, the errors
    keys.py       public keys: ECDSA on P-256
    envelope.py   bytes with signatures over them (DSSE)
    statement.py  what is claimed about a manifest (in-toto)
    trust.py      an artifact and a signature in, an artifact that a pinned key vouches for out
    golden.py     requests with expected answers, and how answers are compared
    graphs.py     graph and weight bytes in, a callable TorchScript module out
    tokenization.py  tokenizer.json in, a tokenizer out; two families have rules of their own there
                  (Marian; moses.py for XLM and FlauBERT, with aligned.py, bpe.py and encoded.py)
    release.py    where a release lies in S3, and release.lock.json as types
    serving.py    names and numbers that the server, the stacks and the local AWS agree on

Imports nothing else of ours; Python 3.10 and ``msgspec`` only (``cryptography`` where a key is
pinned), because it also runs in the Inf1 container. What it costs: each new field is a decision
for both halves at once.
"""
