"""The head of rendered people: mesh, skin, brows and the labels of its parts."""
