"""`python -m companion.data DATA_SET SOURCE` prints the signature of the files that would be used."""

import sys

from companion.data import reader

print(reader(sys.argv[1]).signature(sys.argv[2]))
