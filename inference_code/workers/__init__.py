"""Graphs in processes of their own, one for each group of NeuronCores or share of the CPU.

    cores.py      how many workers, and what each may use
    messages.py   what the server and a worker say to each other
    arena.py      the memory that they share: a batch's inputs, and what came of it
    threads.py    how many threads one graph runs with, by measurement
    program.py    the worker: load, then run what is asked
    process.py    a worker as the server sees it: start it, hand it batches, notice its end
    pool.py       starts all, proves each, replaces those that end or hang

The server imports no torch; a worker no HTTP. The bytes of graphs and weights were verified by the
server and are handed on as sealed descriptors, so all workers map one copy of the weights.
"""
