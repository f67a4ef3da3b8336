"""The bundled plugins, registered by `bundle.py` exactly as anyone's are."""
