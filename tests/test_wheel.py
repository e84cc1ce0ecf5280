"""The wheel carries what `python -m lcomp` needs, and a console script; so does the one that is made of the sdist."""

import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lcomp.report.page import SCRIPTS, UNPACK

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
    assert {"page.html", "page.css"} <= {p.name for p in (site / "lcomp" / "report").iterdir()}
    assert {p.stem for p in (site / "lcomp" / "report" / "scripts").iterdir()} == {*SCRIPTS, UNPACK, "scheme"}
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


@pytest.mark.slow
def test_the_sdist_becomes_the_same_wheel_and_runs_where_it_is_installed(tmp_path):
    def pip(*arguments):
        subprocess.run([sys.executable, "-m", "pip", *arguments], check=True, capture_output=True, timeout=300)

    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=300)
    [sdist] = tmp_path.glob("lcomp-*.tar.gz")
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "conf/config.yaml", "tests/conftest.py"} <= names
    assert not [name for name in names if name.startswith((".venv", "multirun/s", "data/"))]
    for origin, folder in ((sdist, "of sdist"), (ROOT, "of tree")):
        pip("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path / folder, origin)
    [wheel], [other] = ((tmp_path / folder).glob("*.whl") for folder in ("of sdist", "of tree"))
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(other) as two:
        assert {entry.filename: entry.CRC for entry in one.infolist()} == {e.filename: e.CRC for e in two.infolist()}
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", fresh], check=True, timeout=300)
    [site] = fresh.glob("lib/*/site-packages")
    (site / "beside.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    pip("--python", fresh / "bin" / "python", "install", "-q", "--no-deps", "--no-index", "--ignore-installed", wheel)
    done = subprocess.run([fresh / "bin" / "lcomp", "--cfg", "job"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "_target_: lcomp.models.LeNet5" in done.stdout, done.stderr
    where = "import lcomp; from importlib.metadata import version; print(lcomp.__file__, version('lcomp'))"
    done = subprocess.run([fresh / "bin" / "python", "-c", where], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == [str(site / "lcomp" / "__init__.py"), OmegaConf.load(ROOT / "CITATION.cff").version]
