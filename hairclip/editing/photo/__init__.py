"""Photos as files, their faces, and crops of these."""
