"""What there is to run on: Triton or not, devices, the backend of a draw, memory, and where made code is kept."""
