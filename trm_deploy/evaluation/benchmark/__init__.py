"""What each way to run a model gives on this machine: latency, throughput, and the share of the machine's limit."""
