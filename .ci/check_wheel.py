"""Check that a wheel holds the embedded world and the configurations, and no tests: check_wheel.py FILE"""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
names = set(zipfile.ZipFile(sys.argv[1]).namelist())
wanted = {f"hairclip/_data/portraits/{path.name}" for path in (ROOT / "data" / "portraits").iterdir()}
wanted |= {f"hairclip/_configs/{path.name}" for path in (ROOT / "configs").iterdir()}
files = [path for path in (ROOT / "hairclip").rglob("*") if path.suffix in (".py", ".yaml") or path.name == "py.typed"]
wanted |= {path.relative_to(ROOT).as_posix() for path in files}
wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "hairclip" / "pretrained" / "bundles").iterdir()}
missing = sorted(wanted - names)
strangers = sorted(name for name in names if not name.startswith(("hairclip/", "hairclip-")))
if missing or strangers:
    sys.exit(f"wheel: missing {missing}, not wanted {strangers}")
print(f"wheel: {len(names)} files, nothing missing")
