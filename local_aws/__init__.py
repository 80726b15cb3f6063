"""The AWS on this machine: an emulator in a process of its own, and the gaps that we fill.

    names.py        what the launcher, the server and its child processes agree on
    errors.py       what can go wrong, in the words of artifact.errors
    launcher.py     up, down, status; the environment for clients; runs in the project's Python
    processes.py    which processes belong to a state folder, and how they end
    server.py       the process: ministack with our extension, on loopback; runs in .venv-aws
    extension/      what ministack lacks, added inside its process
    conformance/    did the stacks really make what their templates ask for?
    enforcement.py  what is enforced here, what is only present (enforcement.toml)

    traceship local up ──► launcher ──► server ──► replicas, compile jobs (the project's Python)
                                          ▲
                    cdk, boto3 ───────────┘  AWS_ENDPOINT_URL

What it costs: ministack has no plug-in interface, so its version is pinned exactly and
``extension/registry.py`` is the only file that writes to its tables. Whoever can reach the
port on loopback can use it without credentials, other users of this machine included.
"""
