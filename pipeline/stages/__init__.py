"""One module a DVC stage; each has a ``run`` whose parameters are sections of ``params.yaml``."""
