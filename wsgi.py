"""What gunicorn serves: ``gunicorn wsgi:app``. The only module that builds something when it is imported."""

from recto.api import create_app
from recto.runtime import Runtime
from recto.settings import Settings
from recto.telemetry import configure_logging

settings = Settings.load()
configure_logging(settings.log_format)
app = create_app(Runtime.open(settings))
