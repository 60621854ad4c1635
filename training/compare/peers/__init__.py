"""Our model compared with other libraries' models on the same folds."""
