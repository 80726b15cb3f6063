"""IAM's decision, as far as our templates use it: who may do what, worked out without AWS.

    documents.py    policies as JSON in, statements out; anything unknown is refused
    matching.py     wildcards, variables and ARNs
    conditions.py   condition operators
    evaluate.py     the decision: explicit deny, resource policies, boundaries, key policies

Held to the examples of the IAM user guide by test_examples.py; tests/infra/test_permissions.py asks it
about the synthesised templates.
"""
