"""Hair of rendered people: styles, their grooming, strands and what they lie on."""
