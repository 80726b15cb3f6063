"""Day 2 over AWS's APIs: what runs where, and what it answers.

    status.py   stacks, endpoint and instances, each with the digest it was told to serve
    invoke.py   a request to an endpoint or to one server

State lives in AWS, never on this machine. What it costs: every look is a handful of API calls.
"""
