"""What runs draws: Triton kernels, C++ on the CPU, and plain torch. Here is what two of them share."""
