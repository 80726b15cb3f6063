"""The watch of an Inf1 instance: neuron-monitor's reports in, figures and verdicts out.

    options.py      what the instance's files say
    reports.py      a line of neuron-monitor -> a report
    faults.py       what makes an instance unfit, in words
    judge.py        reports, device nodes and /ping -> a fault, or none
    slots.py        the share of the fleet that may go in an hour: objects in S3, one writer each
    replacement.py  a fault and a slot -> SetInstanceHealth
    figures.py      what was reported, counted
    cloudwatch.py   that as lines for CloudWatch
    prometheus.py   that as a page for Prometheus
    watch.py        the loop

A process of its own in a container of its own: the server needs none of these permissions, and a
watch that fails takes no request with it. neuron-monitor runs on the host and is piped in: it reads
every process that uses a chip, which a container does not see, and its version goes with the driver's.
What happens before the server is ready is infra/data/traceship-host.sh's: there may be no image yet.
"""
