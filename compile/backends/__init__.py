"""The targets. Each backend turns a wrapped model into graph bytes, in a child process.

protocol.py    what a backend is, and the table of them
cpu.py         torch.jit.trace; tensors saved once for all buckets
inf1.py        torch.neuron.trace; tensors inside each graph
neuron_log.py  what the compiler's log says: coverage, and why it failed (no torch, parent side)
"""
