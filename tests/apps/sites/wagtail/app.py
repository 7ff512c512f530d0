"""The project, with its static files, which only Django's own server serves by itself."""

import os
import sys

sys.path.insert(0, f"{os.environ['APP_FOLDER']}/project")
os.environ["DJANGO_SETTINGS_MODULE"] = "visited.settings.dev"

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

app = StaticFilesHandler(get_wsgi_application())
