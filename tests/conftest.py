"""What holds for every test."""

from __future__ import annotations

import signal

# A suite that a script starts in the background inherits an ignored SIGINT and would hand that on to
# the processes whose Ctrl-C it tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
