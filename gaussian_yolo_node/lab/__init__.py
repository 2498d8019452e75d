"""Offline tools: style transfer, Noisy Student, FixRes, robustness."""
