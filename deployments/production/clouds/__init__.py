"""Take a version to SageMaker, Azure ML or Vertex AI: a plan of commands, and what carries it out.

Each platform is a module with `plan`, `deploy` and `delete`. The image is that of `evergreen image`. SageMaker is asked
by boto3; docker, az and gcloud are run as a person would run them, with the words that the plan shows.
"""
