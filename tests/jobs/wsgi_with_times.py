"""The service with times of the test's own, as JSON in TEST_TIMES: `gunicorn tests.jobs.wsgi_with_times:app`."""

import json
import os

from recto.api import create_app
from recto.runtime import Runtime
from recto.settings import Settings
from recto.telemetry import configure_logging
from recto.times import Times

from .mortal import arm

settings = Settings.load()
configure_logging(settings.log_format)
arm()
times = {"deadline_s": settings.openrouter_timeout_ms / 1000} | json.loads(os.environ["TEST_TIMES"])
app = create_app(Runtime.open(settings, Times(**times)))
