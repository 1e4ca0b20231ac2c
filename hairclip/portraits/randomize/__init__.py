"""Randomize rendered portraits: hair, skin, clothes, backdrops, other people, cameras, light and sensors.

A parser that learns from such pictures finds hair in real photos (`hairclip.portraits.fit.photo_parser`).
"""
