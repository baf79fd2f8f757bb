"""What happens by the clock."""

from __future__ import annotations

from functions import rate_limit
from reactor import Crons

crons = Crons()
crons.hourly("clear expired rate limits", 0, rate_limit.reset_expired_rate_limits)
