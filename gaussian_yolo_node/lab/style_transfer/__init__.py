"""Neural style transfer (Gatys, Ecker, Bethge, CVPR 2016; SPEC section 5)."""
