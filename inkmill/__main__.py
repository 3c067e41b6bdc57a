"""`python -m inkmill`."""

from inkmill.cli import main

if __name__ == "__main__":
    main()
