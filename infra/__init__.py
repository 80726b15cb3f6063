"""Settings and lock in, CloudFormation out. Nothing is looked up; the same input gives the same bytes.

    entry.py            what app.py runs: context, settings, lock, errors in three lines
    app.py              build(): which stacks there are
    compatibility.py    does the release fit the machines? asked first; incompatible.py has the words
    artifacts_stack.py  key, buckets, repositories, signing key      ─┐
    network_stack.py    isolated subnets and private endpoints        ├─ the foundation: no release needed
    compile_stack.py    Step Functions over AWS Batch                ─┘
    fleet_stack.py      EC2 behind a load balancer; boot.py is its user data, fleet_health.py its alarms
    endpoint_stack.py   SageMaker
    policy.py           what fails a synthesis: two cdk-nag packs and rules/, which reads the templates
                        (docs/policy.md); acknowledgements.py is the only place where a finding is accepted
    names.py            names that the command must know too; placeholders.py what no real account may get

The other modules serve these: roles.py, exact_keys.py, images.py, logs.py, alarms.py, rhythm.py, timing.py,
throughput.py, instances.py (data/instances.toml), lock.py, machine_image.py, stack.py.

What it costs: Node runs for every synthesis (about ten seconds), policies included, which are under a
tenth of it (bench/synth.py); names.py, lock.py, placeholders.py and compatibility.py work without it.
"""
