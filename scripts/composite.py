"""Take only the hair from another editor's picture of a photo.

python scripts/composite.py --photo me.jpg --edited anybodys_edit.png --out me_new.jpg
python scripts/composite.py --photo me.png --edited edit.jpg --mask hair.png --seam poisson --out me_new.png
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("composite"))
