"""The wheel carries what `python -m lcomp` needs, and a console script."""

import os
import subprocess
import sys
import zipfile
from email.parser import BytesParser
from pathlib import Path

from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]


def test_wheel_carries_the_configuration_and_composes_from_it(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    [wheel] = tmp_path.glob("lcomp-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    inside = {p.relative_to(site / "lcomp" / "conf") for p in (site / "lcomp" / "conf").rglob("*.yaml")}
    assert inside == {p.relative_to(ROOT / "conf") for p in (ROOT / "conf").rglob("*.yaml")}
    assert {"page.html", "page.css", "page.js"} <= {p.name for p in (site / "lcomp" / "report").iterdir()}
    [entry] = site.glob("lcomp-*.dist-info/entry_points.txt")
    assert "lcomp = lcomp.__main__:main" in entry.read_text()
    assert (site / "lcomp" / "py.typed").is_file()  # the package's annotations are its users' too
    metadata = BytesParser().parsebytes(entry.with_name("METADATA").read_bytes())
    assert "Typing :: Typed" in metadata.get_all("Classifier") and metadata["License-Expression"] == "MIT"
    cited = OmegaConf.load(ROOT / "CITATION.cff")
    assert cited.version == metadata["Version"] and cited.license == "MIT" and cited["cff-version"] == "1.2.0"
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [
        sys.executable,
        "-c",
        "import lcomp.config.run_config as c; print(c.folder()); import lcomp.__main__ as m; m.main()",
    ]
    done = subprocess.run([*command, "--cfg", "job"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(str(site / "lcomp" / "conf")) and "_target_: lcomp.models.LeNet5" in done.stdout
