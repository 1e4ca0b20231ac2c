"""From pictures to W+ codes, and how good these are."""
