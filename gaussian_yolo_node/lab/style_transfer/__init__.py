"""Neural style transfer (Gatys, Ecker, Bethge, CVPR 2016; docs/paper_facts.md, section 5)."""
