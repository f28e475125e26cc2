"""Every error FMLab raises on purpose.

The tree::

    FMLabError                 something went wrong that a person can be told in one sentence
    ├── BadInput               the person asked for something impossible; nothing was changed   (exit status 2)
    │   ├── NotFound           a name that is not there
    │   ├── NameTaken          a name that is already there
    │   └── BadWeights         a weights file that is not what it should be
    ├── UnreadableImage        one image cannot be decoded; it becomes a manifest row with this reason
    ├── StorageFull            the disk filled up; what was being written is gone, the rest is intact (exit status 2)
    ├── Cancelled              a person, or the launcher, asked for the work to stop
    └── WorkFailed             a run ended without its result; the reason is on its row         (exit status 1)

Show the sentence, keep the traceback for everything else::

    try:
        dataset = import_dataset(home, source, name="ours")
    except FMLabError as error:
        show(str(error))

In: nothing. Out: exception classes.
"""


class FMLabError(Exception):
    """Something went wrong that a person can be told in one sentence: what, got, expected, what to do."""

    exit_status = 1


class BadInput(FMLabError):
    """The person asked for something impossible. Nothing was changed."""

    exit_status = 2


class NotFound(BadInput):
    """A dataset, backbone, study or run of that name does not exist."""


class NameTaken(BadInput):
    """A dataset, backbone or study of that name already exists."""


class BadWeights(BadInput):
    """A weights file is truncated, of another architecture, or not a plain file of tensors."""


class UnreadableImage(FMLabError):
    """One image cannot be decoded. Importers turn it into a manifest row that carries this reason."""


class StorageFull(FMLabError):
    """The disk filled up while writing. The unfinished file was removed; finished ones are intact."""

    exit_status = 2


class Cancelled(FMLabError):
    """A person, or the launcher, asked for the work to stop."""

    exit_status = 130


class WorkFailed(FMLabError):
    """A run ended without its result; the message is the reason kept on its row."""
