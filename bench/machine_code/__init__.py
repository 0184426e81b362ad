"""Kernels compiled without a GPU and counted: for the tests' budgets and for the table of instructions."""
