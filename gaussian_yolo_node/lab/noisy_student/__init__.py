"""Noisy Student: a teacher labels, labels are selected, a student learns under noise (SPEC section 4)."""
