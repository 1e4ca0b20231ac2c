"""Measure the portrait networks on held-out rendered people and print the table of what they must reach.

python scripts/evaluate_portrait_networks.py
python scripts/evaluate_portrait_networks.py --bundle runs/networks --count 50 --optimize-count 8
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("evaluate-portrait-networks"))
