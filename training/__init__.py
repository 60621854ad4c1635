"""Everything before the request: data, fitting, measuring, tracking."""
