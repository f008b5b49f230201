"""Which view answers what; below /wf/ it is wdk-cloud, see asgi.py."""

from django.urls import path
from views import order, progress

urlpatterns = [
    path("reports", order),
    path("reports/<slug:run_id>/progress", progress),
]
