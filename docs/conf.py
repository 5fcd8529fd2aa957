"""How the documentation is built: ``make docs``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "{{cookiecutter.project_slug}}" / "src"))
sys.path.insert(0, str(ROOT / "docs"))

project = "FastAPI channels template"
author = "the authors of the template"
version = release = "2.0.0"

extensions = ["sphinx.ext.autodoc", "docstrings"]
exclude_patterns = ["_build", "examples"]
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_show_copyright = False

# The reference is read from the sources; what they import from elsewhere need not be installed for it.
autodoc_mock_imports = ["cryptography", "hiredis", "msgpack", "redis"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

# Docstrings write `name` for code.
default_role = "code"

# A link to a name of our own that does not exist is an error. Names of the standard library and of
# ASGI's type aliases have no page here.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!fast_channels\.).*"),
    ("py:.*", r"fast_channels\.type_defs\..*"),
]
