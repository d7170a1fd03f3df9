"""The best, or a likely, sequence under a step function: one loop for each way of choosing."""
