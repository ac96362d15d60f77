"""Prometheus, Alertmanager and Grafana beside Evergreen: their files, and the dashboards, which a script builds."""
