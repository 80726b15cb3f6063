"""The batch runner: compile requests as rows of one execution of the deployed compile stack.

    deployment.py  what is deployed: bucket, state machine, queues, log group, image; and its clients
    upload.py      a model's hashed files and the user's examples to s3://BUCKET/models/
    rows.py        a request as a row: its key, its place below compiled/, its command line
    execution.py   start an execution, or attach to the one that runs already
    following.py   the jobs' states and log lines, while they run; what each said last
    results.py     a finished artifact out of s3://BUCKET/compiled/, verified
    runner.py      all of it together

The other side is ``infra/compile_stack.py``, and ``python -m compile`` in its jobs. A row's place is
named by the key of its compile, so what is finished is never compiled again, whoever asks; an
execution's name is made of the rows' places, so whoever asks again while it runs attaches to it.
"""
