"""The commands that run the service, and that change what a running one serves."""
