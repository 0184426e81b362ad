"""What `make gpu` runs: checks and measurements on an NVIDIA GPU, each part in a process of its own."""
