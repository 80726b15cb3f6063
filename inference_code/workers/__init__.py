"""Graphs in processes of their own, one for each group of NeuronCores or share of the CPU.

    cores.py      how many workers, and what each may use
    messages.py   what the server and a worker say to each other
    arena.py      the memory that they share: a batch's inputs, and what came of it
    threads.py    how many threads one graph runs with, by measurement
    program.py    the worker: load, then run what is asked
    forking.py    the fork server of workers on the CPU, which share what it has loaded
    supply.py     the files of the graphs, as workers inherit them
    beginning.py  what starts of workers have in common
    programs.py   starts workers that load by themselves, as Inf1 wants it
    fork_server.py  starts workers as forks of one process
    process.py    a worker as the server sees it: hand it batches, notice its end
    faults.py     why a worker could not serve
    pool.py       starts all, proves each, replaces those that end or hang

The server imports no torch; a worker no HTTP. The bytes of graphs and weights were verified by the
server and are handed on as sealed descriptors, so all workers map one copy of the weights.
"""
