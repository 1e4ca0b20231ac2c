"""From words and reference pictures to what the mapper is conditioned on."""
