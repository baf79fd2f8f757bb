"""What happens by the clock, which is UTC. Deploying this file is all it takes; a cron that is gone from it is gone.

A cron never overlaps itself: what falls due meanwhile is left out. After a downtime, one of the missed runs is made up for.
"""

from __future__ import annotations

from datetime import time, timedelta

from functions import maintenance, monitoring, reports
from reactor import Crons

crons = Crons()
crons.interval("count sessions", timedelta(minutes=10), monitoring.count_sessions)  # for the first time right now
crons.cron("check health", "*/5 * * * *", monitoring.health_check)
crons.hourly("clean up stale sessions", 15, maintenance.cleanup_stale_sessions, batch=100)
crons.daily("daily report", time(0, 0), reports.generate_daily)
crons.weekly("weekly cleanup", ("sunday", time(3, 0)), maintenance.weekly_cleanup)
