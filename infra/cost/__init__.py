"""What a project costs a month, read off the templates that would be deployed.

    synth.py      settings and lock → templates (the only module here that starts the CDK)
    resources.py  templates → what is paid for, a rule for each resource type
    capacity.py   a service's bounds, its schedule and a load → instances and requests
    schedule.py   a schedule → the hours a month that each pair of bounds is in force
    cron.py       both of AWS's cron syntaxes → the moments at which an entry fires
    prices.py     data/prices.json → unit prices, each with source and date
    catalogue.py  every price that can be asked for: its unit, and where AWS's price list has it
    refresh.py    the price list and Spot history → a new price file
    bill.py       what is paid for x unit prices → artifact/bill.py

A template knows everything that a bill needs, so no setting is read twice and a stack that gets another
alarm or endpoint costs more by itself. What is not in a template (load, size of a request, length of a
compile) comes in as an argument with a default, and its lines are marked as estimates.
"""
