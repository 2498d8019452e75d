"""Noisy Student: a teacher labels, labels are selected, a student is trained with noise.

See docs/paper_facts.md, section 4.
"""
