"""Prepares the process of a script. Every script imports this module first.

After this import, a signal does not print a stack trace, temporary files are removed with the
program, and libraries find a home directory even if the system has none. If the main module is not
a script of this folder, as in tests, the import does nothing.
"""

import os
import sys

from experiments.command_line import signals


def _is_script() -> bool:
    main = getattr(sys.modules["__main__"], "__file__", None) or ""
    # Without pathlib, because its import is slow.
    scripts = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    return os.path.dirname(os.path.abspath(main)) == scripts  # noqa: PTH100, PTH120


def _begin() -> None:
    signals.end_at_once()
    import io

    from experiments.command_line import temporary_folder
    from tff_nlp.runs import user_folders

    try:
        folder = temporary_folder.open_private()
    except OSError as error:
        program = os.path.basename(sys.argv[0])  # noqa: PTH119
        print(f"{program}: no place for temporary files ({error}); set TMPDIR", file=sys.stderr)
        sys.exit(2)
    home = user_folders.home()
    if home is None or not os.access(home, os.W_OK | os.X_OK):
        # Keras, matplotlib and other libraries write to the home directory, or fail without one.
        os.environ[user_folders.STATED_HOME] = os.environ.get("HOME", "")
        os.environ["HOME"] = str(folder / "home")
        os.mkdir(os.environ["HOME"], 0o700)  # noqa: PTH102
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A terminal's encoding may lack some letters.
            stream.reconfigure(errors="backslashreplace")


if _is_script():
    _begin()
