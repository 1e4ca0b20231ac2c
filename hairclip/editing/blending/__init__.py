"""Join the generator's picture with the photo: find the hair, take the old hair away, put the new hair in its place."""
