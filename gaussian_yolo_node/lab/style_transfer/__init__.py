"""Neural style transfer (Gatys, Ecker, Bethge, CVPR 2016; SPEC section 5): the parts of `style_transfer`."""
