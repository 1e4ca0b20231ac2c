"""Edit pictures and photos: from a request to the picture."""
