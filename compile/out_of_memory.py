"""Whether a compile ended for want of memory, in whichever of its processes and however that was told.

The kernel ends the process that holds the most, which is a child (children.py) or the compiler below
it; the parent lives and says which one. On AWS the job must then end as if it had been killed itself
(batch/attempts.py), because that is what the next size of memory is given for.
"""

from __future__ import annotations

import errno

from compile.backends.neuron_errors import CompilerOutOfMemory
from compile.backends.neuron_log import NO_ALLOCATION
from compile.children import KILLED, ChildFailed


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether more memory could have let the work go on; causes (``raise … from``) are looked at too.

    A child at its time limit is killed as well, but by us: it has no exit code.
    """
    told: BaseException | None = error
    while told is not None:
        if _says_so(told):
            return True
        told = told.__cause__
    return False


def _says_so(error: BaseException) -> bool:
    if isinstance(error, ChildFailed):
        code = error.exit_code_of_child
        return code in KILLED or (code is not None and NO_ALLOCATION.search(error.log) is not None)
    is_refused = isinstance(error, OSError) and error.errno == errno.ENOMEM  # a fork, or a map of a file
    return is_refused or isinstance(error, CompilerOutOfMemory | MemoryError)
