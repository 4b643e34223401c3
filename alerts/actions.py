"""What an administrator may do: save and delete rules and channels, test a channel, have a message sent again.

Each with its entry in the audit log, in the same transaction, and none with a secret in it.
"""

from typing import Any
from uuid import uuid4

from asgiref.sync import async_to_sync
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import Deed, User
from alerts import channels, messages, outbox, sending
from alerts.channels import Opened
from alerts.fanning import site
from alerts.models import Channel, Delivery, Rule
from alerts.sending import Answer


class Refused(Exception):
    """What is asked for cannot be; `field` is the form's, '' where it is about none."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


def save_rule(rule: Rule | None, user: User, *, channels: list[Channel], **fields: Any) -> Rule:
    """Make (rule is None) or change a rule. Raises Refused when the name is taken."""
    try:
        with transaction.atomic():
            if rule is None:
                saved = Rule.objects.create(**fields)
            else:
                Rule.objects.filter(pk=rule.pk).update(**fields)
                saved = Rule.objects.get(pk=rule.pk)
            saved.channels.set(channels)
            audit.record(Deed.RULE_SAVED, user, f"rule {saved.name}", "new" if rule is None else "")
    except IntegrityError:
        raise Refused("Another rule has this name.", "name") from None
    return saved


def delete_rule(rule: Rule, user: User) -> int:
    """What it has said and nobody has got yet is dropped. Returns how many deliveries that were."""
    with transaction.atomic():
        audit.record(Deed.RULE_DELETED, user, f"rule {rule.name}")
        dropped = outbox.drop("Not sent: its rule was deleted.", alert__rule=rule)
        Rule.objects.filter(pk=rule.pk).delete()
    return dropped


def save_channel(channel: Channel | None, user: User, *, means: str, name: str, url: str) -> tuple[Channel, str]:
    """Make (channel is None) or change a channel; an empty `url` keeps the stored one. The address was checked.

    Returns it with the secret of a new webhook, '' for any other: the only time that it can be read.
    """
    made = channel is None
    secret = channels.new_secret() if made and means == Channel.Means.WEBHOOK else ""
    fields: dict[str, Any] = {"name": name}
    if url:
        kept = secret if channel is None else channels.opened(channel).secret
        fields |= {"sealed": channels.sealed(Opened(url, kept)), "hint": channels.hint(means, url)}
    try:
        with transaction.atomic():
            if channel is None:
                saved = Channel.objects.create(means=means, **fields)
            else:
                Channel.objects.filter(pk=channel.pk).update(**fields)
                saved = Channel.objects.get(pk=channel.pk)
            detail = "new" if made else "new address" if url else ""
            audit.record(Deed.CHANNEL_SAVED, user, f"channel {saved.name}", detail)
    except IntegrityError:
        raise Refused("Another channel has this name.", "name") from None
    return saved, secret


def renew_secret(channel: Channel, user: User) -> str:
    """A new secret of a webhook; the old one signs nothing any more. Raises vault.Unreadable."""
    secret = channels.new_secret()
    with transaction.atomic():
        url = channels.opened(channel).url
        Channel.objects.filter(pk=channel.pk).update(sealed=channels.sealed(Opened(url, secret)))
        audit.record(Deed.CHANNEL_SAVED, user, f"channel {channel.name}", "new secret")
    return secret


def delete_channel(channel: Channel, user: User) -> int:
    """What waits for it is dropped. Returns how many deliveries that were."""
    with transaction.atomic():
        audit.record(Deed.CHANNEL_DELETED, user, f"channel {channel.name}")
        dropped = outbox.drop("Not sent: its channel was deleted.", channel=channel)
        Channel.objects.filter(pk=channel.pk).delete()
    return dropped


def test_channel(channel: Channel, user: User) -> Answer:
    """Send a test message now, past the outbox, and give what came back."""
    audit.record(Deed.CHANNEL_TESTED, user, f"channel {channel.name}")
    answer: Answer = async_to_sync(sending.send)(channel, str(uuid4()), messages.test_message(site()))
    return answer


def send_again(delivery: Delivery, user: User) -> None:
    """Another round of attempts. Raises Refused."""
    with transaction.atomic():
        if not outbox.try_again(delivery.pk):
            raise Refused("Only what failed or was dropped can be sent again, and only while its channel is there.")
        audit.record(Deed.DELIVERY_RETRIED, user, f"message {delivery.key} to {delivery.channel_name}")
