"""A sweep's page while it runs, served to browsers of this machine."""
