"""Image classifiers: trained, under noise or without, and used as teachers (SPEC section 4)."""
