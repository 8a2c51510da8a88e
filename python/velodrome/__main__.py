"""``python -m velodrome``: runs a program on Velodrome's loop. The work is done in ``_launcher``."""

from velodrome._launcher import main

if __name__ == "__main__":
    main()
