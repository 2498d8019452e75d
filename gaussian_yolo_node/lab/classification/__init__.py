"""Image classifiers: trained with or without noise, and used as teachers (docs/paper_facts.md, section 4)."""
