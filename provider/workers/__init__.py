"""Where work runs. Rule: what reaches an engine comes from the owner's `WorkerSpec` alone, never from a buyer."""
