"""python -m tradeoff.evaluate: attack anyone's model, and report what it holds. The command itself is `report.main`.

Its name is also that of the function: `from tradeoff import evaluate` gives `evaluation.evaluate`, and goes on doing so
after this file has been imported, because the import system binds the package's attribute to what it finds in
`sys.modules` once the file has run.
"""

import sys

from tradeoff.command import run
from tradeoff.evaluation import evaluate
from tradeoff.report import main

if __name__ == "__main__":
    sys.exit(run(main))
sys.modules[__name__] = evaluate  # type: ignore[assignment]
