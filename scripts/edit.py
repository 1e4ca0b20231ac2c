"""Edit the hair in a photo, in a folder of photos, or of W+ codes.

python scripts/edit.py --image me.jpg --text "red bob cut" --out me_red_bob.jpg
python scripts/edit.py --image me.jpg --hairstyle other.jpg --color blue --compare compared.png
python scripts/edit.py --image me.jpg --grid --out grid.png
python scripts/edit.py --image me.jpg --text "red bob cut" --text "blond and wavy" --frames 24 --gif --out frames/me.jpg
python scripts/edit.py --image photos --out edited --text "long black hair" --face all
python scripts/edit.py --latents portraits/latents --range 0:20 --text "red bob cut" --out edited
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("edit"))
