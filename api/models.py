"""Which launch an Idempotency-Key stands for."""

from django.conf import settings
from django.db import models

from runs.models import Run


class LaunchKey(models.Model):
    """Written in the transaction that makes the run, so that there is one run for a key whatever fails in between."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    digest = models.CharField(max_length=64, help_text="Of the request's path and body, hexadecimal")
    run = models.ForeignKey(Run, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="launch_key")]

    def __str__(self) -> str:
        return f"{self.key} of {self.user_id}"
