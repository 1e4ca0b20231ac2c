"""Edit a portrait.

python scripts/edit.py --image data/portraits/NAME.png --text "red bob cut" --out edited.png
python scripts/edit.py --image me.png --hairstyle other.png --color blue --compare --out compared.png
python scripts/edit.py --image me.png --grid --out grid.png
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hairclip.__main__ import script

if __name__ == "__main__":
    sys.exit(script("edit"))
