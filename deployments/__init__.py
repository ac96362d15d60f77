"""What `prefect.yaml` cannot say: the command line and the demo."""
