"""Edit photos in a web page.

python scripts/demo.py
python scripts/demo.py --port 8000 --bundle ffhq
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("demo"))
