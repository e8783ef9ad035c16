"""Lengths of time, in milliseconds. Knows neither events nor clocks."""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
YEAR_MS = 365.25 * DAY_MS
