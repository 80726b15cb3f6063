"""The CDK entry point that cdk.json names. Settings and lock in, stacks out; see infra/entry.py."""

import sys

from infra.entry import main

sys.exit(main())
