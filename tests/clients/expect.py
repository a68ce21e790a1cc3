"""Checks that a Python expression holds over `it`, the JSON on standard input.

    … | python expect.py LABEL EXPRESSION
"""

import json
import sys

label, expression = sys.argv[1:]
text = sys.stdin.read()
try:
    it = json.loads(text)
    it = it.get("result", it)
    holds = eval(expression)  # the expressions are this repository's own
except Exception as error:
    holds, text = False, f"{error!r}: {text}"
if not holds:
    sys.exit(f"  {label}: not {expression}\n  {text[:2000]}")
print(f"  {label}")
