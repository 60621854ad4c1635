"""The service in one process, without the seconds that BentoML takes to start its two: run with the port as argument."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

from serving.service import LimitReduction

if __name__ == "__main__":
    service: Any = LimitReduction  # the decorator made a service of it
    uvicorn.run(service.to_asgi(), host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
