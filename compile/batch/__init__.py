"""The batch runner: compile requests as rows of one execution of the deployed compile stack.

    deployment.py  what is deployed: bucket, state machine, queues, log group, image; and its clients
    upload.py      a model's hashed files and the user's examples to s3://BUCKET/models/
    rows.py        a request as a row: its key, its place below compiled/, its command line
    execution.py   start an execution, or attach to the one that runs already
    following.py   the jobs' states and log lines, while they run; what each said last
    results.py     a finished artifact out of s3://BUCKET/compiled/, verified
    given_up.py    rows that failed too often to be tried again
    rungs.py       with how much memory a job begins
    runner.py      all of it together

and in jobs:

    attempts.py    what a job notes of its attempt and of the memory that sufficed
    asked.py       a compile request in S3, checked against what may be asked there
    intake.py      the job that takes one: the client's work, for somebody who only wrote an object

The other side is ``infra/compile_stack.py``, and ``python -m compile`` in its jobs. A row's place is
named by the key of its compile, so what is finished is never compiled again, whoever asks; an
execution's name is made of the rows' places, so whoever asks again while it runs attaches to it.
"""
