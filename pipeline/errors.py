"""The mistakes that a user can mend: one root, one line a class.

A message says what was expected, what was got, where, and what to do. ``__main__`` prints it
without a traceback and exits with status 1.
"""


class PipelineError(Exception):
    """Anything that a user can mend; the message is one clear sentence."""


class ConfigError(PipelineError):
    """A key, a value or an option of the configuration that does not fit."""


class BandError(PipelineError):
    """A band that is missing, repeated or not where it was said to be."""


class ClassError(PipelineError):
    """A class that is missing, repeated or unknown."""


class SourceError(PipelineError):
    """Imagery or labels that can't be read as tiles."""


class SplitError(PipelineError):
    """Tiles that can't be divided into training, validation and test without a leak or a gap."""


class StoreError(PipelineError):
    """A tile store that is missing, torn or of another shape than asked for."""


class NetworkError(PipelineError):
    """A network that can't be built or does not fit its tile; names the layer."""


class LayerError(NetworkError):
    """A fault of a network that names its layer."""


class BundleError(PipelineError):
    """A trained network that is missing, torn or does not fit what it is used on."""


class TrainingError(PipelineError):
    """Training that can't go on."""


class DivergenceError(TrainingError):
    """Training whose numbers are no longer finite."""


class TrackingError(PipelineError):
    """An MLflow store that can't be reached or used."""


class ComparisonError(PipelineError):
    """Runs that can't be found, or can't be compared."""
