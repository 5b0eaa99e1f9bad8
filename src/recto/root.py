"""The folder with sql/, wsgi.py and gunicorn.conf.py, and how gunicorn is called with them."""

from pathlib import Path

# A wheel carries them inside of the package; in a checkout, from which they are taken, they lie at the top.
_IN_WHEEL = Path(__file__).with_name("_root")
ROOT = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).resolve().parents[2]

# Behind `python -m`; from any folder.
GUNICORN = ("gunicorn", "--config", str(ROOT / "gunicorn.conf.py"), "--pythonpath", str(ROOT), "wsgi:app")
