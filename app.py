"""Serves the page: `python app.py`, or with your own models `python app.py --checkpoint A --checkpoint B`."""

from spineseg.ui.launch import main

if __name__ == "__main__":
    main()
