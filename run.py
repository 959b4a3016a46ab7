"""Run Provenance Guard from a checkout: ``python run.py demo``.

This file must be understood by every Python, however old, so that it can say what is wrong with it; the work is done by
``locks/environment.py``.
"""

import sys

OLDEST = (3, 10)


def refuse_old_python():
    found = "%d.%d" % sys.version_info[:2]
    sys.stderr.write(
        "Provenance Guard needs Python 3.10 to 3.13, and this is Python " + found + ". "
        "Install one of those and run this command with it, for example: python3.12 run.py demo\n"
    )
    return 1


def main():
    if sys.version_info < OLDEST:
        return refuse_old_python()
    from locks import environment

    return environment.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
