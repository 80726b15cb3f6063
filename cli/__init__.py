"""The ``traceship`` command: parse, call one function, print.

    __main__.py   the group; commands are imported only when they run, so --help stays fast
    console.py    talk on stderr, data on stdout, steps with their time
    failure.py    an error as what / why / fix, and its exit code
    project.py    the folder's settings, lock and AWS session
    cdk.py        the real CDK CLI
    planning.py   lengths to a bucket plan
    shipping.py   compile, publish, lock
    deploying.py  what is checked before and after ``cdk deploy``
    commands/     one file a command

What it costs: a command's options are typed twice, here and in the function it calls.
"""
