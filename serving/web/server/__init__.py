"""What is changed of uvicorn, the HTTP server: its protocol and its event loop."""
