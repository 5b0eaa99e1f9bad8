"""Print the tables of docs/cards.md."""

import sys

from recto.evaluation.offline import offline
from recto.evaluation.tables import markdown

sys.stdout.write("\n\n".join(map(markdown, offline().tables)) + "\n")
