"""Jobs that run by a schedule: from a job's file to a run, its history, and the lines for cron and systemd."""
