"""Draw triangles and strands into a picture."""
